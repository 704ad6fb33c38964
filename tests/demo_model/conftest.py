"""Shared by the tests of the demonstration model."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from PIL import Image, ImageDraw


@pytest.fixture
def easy_vqa(tmp_path, monkeypatch):
    """The package easy-vqa with three pictures in place of its thousands."""
    package, paths, questions = ModuleType("easy_vqa"), {}, []
    shapes = (("circle", "teal"), ("rectangle", "red"), ("triangle", "gray"))
    for number, (shape, color) in enumerate(shapes):
        paths[number] = tmp_path / f"{number}.png"
        picture = Image.new("RGB", (64, 64), (255, 250, 250))
        ImageDraw.Draw(picture).rectangle((20, 20, 44, 44), fill=color)
        picture.save(paths[number])
        questions += [("what shape is in the image?", shape, number), ("what color is the shape?", color, number)]
    package.get_train_image_paths = lambda: paths
    package.get_train_questions = lambda: tuple(zip(*questions, strict=True))
    monkeypatch.setitem(sys.modules, "easy_vqa", package)
