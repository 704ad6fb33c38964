"""LLaVA-NeXT and LLaVA-OneVision, whose tokens run line by line across tiles: which tile each token shows."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fitprune_core import load_model, visual_layout
from tests.families.llava_onevision import save_tiny_onevision
from tests.families.seen import packed
from tests.tiny import random_picture, save_tiny_llava

SIZES = [(24, 24), (50, 30), (30, 50), (72, 72), (100, 31), (31, 97), (640, 480), (333, 500), (70, 200), (1000, 300)]


@pytest.fixture(scope="module", params=["llava_next", "llava_onevision", "pixels-beside"])
def loaded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines") / "tiny"
    if request.param == "llava_next":
        save_tiny_llava(folder, family="llava_next")
    else:
        save_tiny_onevision(folder, pixels_beside=2 * (request.param == "pixels-beside"))
    return load_model(folder, device="cpu")


def tile_numbers(model, processor, size) -> np.ndarray:
    """Of which view each token is made, by the model's own packing: 0 is the whole picture; newlines are -1."""
    made = processor.image_processor(random_picture(*size), return_tensors="pt")
    per_side = model.config.vision_config.image_size // model.config.vision_config.patch_size
    views = torch.arange(made["pixel_values"].shape[1], dtype=torch.float32)
    return packed(model, made["image_sizes"], views[:, None, None].expand(-1, per_side**2, 1))[:, 0]


@pytest.mark.parametrize("size", SIZES)
def test_each_token_lies_in_the_tile_whose_features_it_is_made_of(loaded, size):
    model, processor = loaded
    layout = visual_layout(model.config, processor, size)
    numbers = tile_numbers(model, processor, size)
    views = {"base": numbers == 0, "tile": numbers > 0, "newline": numbers == -1}
    for view, expected in views.items():
        assert [kind == view for kind in layout.views] == expected.tolist()
    # Interpolation mixes the features of tiles that touch; what is of one tile has its very number.
    tokens = [
        at for at in np.flatnonzero(numbers > 0) if abs(numbers[at] - round(numbers[at])) < 1e-4 and layout.boxes[at]
    ]
    assert len(tokens) > layout.rows * layout.columns / 2
    tiles = sorted({round(numbers[at]) for at in tokens})
    assert len(layout.tiles) == len(tiles)
    for at in tokens:
        left, top, right, bottom = layout.boxes[at]
        x, y = (left + right) / 2, (top + bottom) / 2
        inside = [x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in layout.tiles]
        assert np.flatnonzero(inside).tolist() == [tiles.index(round(numbers[at]))]


@pytest.mark.parametrize("size", SIZES)
def test_tiles_make_the_picture(loaded, size):
    model, processor = loaded
    tiles = visual_layout(model.config, processor, size).tiles
    assert tiles == tuple(sorted(tiles, key=lambda box: (box[1], box[0])))
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in tiles) == pytest.approx(size[0] * size[1])
    assert (min(box[0] for box in tiles), min(box[1] for box in tiles)) == (0, 0)
    assert (max(box[2] for box in tiles), max(box[3] for box in tiles)) == pytest.approx(size)


def test_another_way_to_read_shapes_is_refused(tmp_path):
    folder = save_tiny_onevision(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text()) | {"vision_aspect_ratio": "square"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="vision_aspect_ratio is 'square'"):
        load_model(folder, device="cpu")
