"""The picture input: a data URL reaches the app as the bytes that were sent, bounded like a file."""

from __future__ import annotations

import base64
import io

import gradio as gr
import pytest
from gradio.data_classes import ImageData
from PIL import Image

from app import inputs
from app.inputs import Picture
from fitprune_core import open_picture


def url_of(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def test_a_data_url_is_handed_on_as_it_is(monkeypatch):
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4), "red").save(buffer, "JPEG", exif=exif)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    path = Picture().preprocess(ImageData(url=url_of(buffer.getvalue())))
    monkeypatch.undo()
    with open(path, "rb") as file:
        assert file.read() == buffer.getvalue()
    assert open_picture(path).size == (4, 8)


def test_data_urls_that_cannot_be(monkeypatch):
    with pytest.raises(gr.Error, match="no base64"):
        Picture().preprocess(ImageData(url="data:image/png;base64,@@@"))
    monkeypatch.setattr(inputs, "MAX_FILE_BYTES", 30)
    with pytest.raises(gr.Error, match="more than 30 bytes"):
        Picture().preprocess(ImageData(url=url_of(bytes(60))))
