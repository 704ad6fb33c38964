"""What visitors read of errors."""

from __future__ import annotations

import pytest

from app.words import failure, sentence


@pytest.mark.parametrize("error", [ValueError("no such budget"), MemoryError("no such budget")])
def test_what_he_can_change_is_told_as_it_is(error, caplog):
    assert failure(error, "a sweep", "More.") == "No such budget." and caplog.text == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cannot read '/home/My Models/llava/x.json'", "Cannot read 'x.json'."),
        ("file:///tmp/abc/def/x.png is gone", "x.png is gone."),
        ('no "C:\\Some Folder\\deep\\x.json" here', 'No "x.json" here.'),
        ("it can't read /srv/a/x.json, can't it", "It can't read x.json, can't it."),
        ("see https://example.org/a/b", "See https://example.org/a/b."),
    ],
)
def test_no_folder_of_the_server_is_told(text, told):
    assert sentence(text) == told


def test_everything_else_is_the_models_and_the_log_has_its_trace(caplog):
    try:
        raise RuntimeError("see /home/somebody/device.log")
    except RuntimeError as error:
        assert failure(error, "a sweep") == "The model failed: See device.log."
        assert failure(error, "a sweep", "More.") == "The model failed: See device.log. More."
    assert "a sweep failed" in caplog.text and "test_words.py" in caplog.text
