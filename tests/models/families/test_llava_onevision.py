"""LLaVA-OneVision from its folder to its figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fitprune_core import build_inputs, load_model, visual_layout
from tests.coordinates import box_errors
from tests.families.checks import asked, check_command_line, check_equal_to_a_masked_model, check_flops
from tests.families.llava_onevision import save_tiny_onevision
from tests.tiny import random_picture

SIZES = [(24, 24), (50, 30), (30, 50), (72, 72), (100, 31), (31, 97), (640, 480), (333, 500), (48, 24), (70, 200)]


@pytest.fixture(scope="module", params=[0, 2], ids=["whole-patches", "pixels-beside"])
def loaded(request, tmp_path_factory):
    folder = save_tiny_onevision(tmp_path_factory.mktemp("onevision") / "tiny-onevision", request.param)
    return folder, *load_model(folder, device="cpu")


@pytest.mark.parametrize("size", SIZES)
def test_boxes_are_where_the_model_looks(loaded, size):
    """Colours of the tiles' pixels, patch by patch, through the model's own packing."""
    _, model, processor = loaded
    layout = visual_layout(model.config, processor, size)
    side, patch = model.config.vision_config.image_size, model.config.vision_config.patch_size
    per_side = side // patch

    def colours(image):
        made = processor.image_processor(image, return_tensors="pt", do_normalize=False)
        pixels = made["pixel_values"][0][..., : per_side * patch, : per_side * patch] * 255
        means = pixels[:, :2].unfold(2, patch, patch).unfold(3, patch, patch).mean((4, 5))
        features = means.flatten(2).transpose(1, 2)
        packed, _ = model.model.pack_image_features(
            [features], made["image_sizes"], torch.full((2,), -1.0), model.config.vision_aspect_ratio
        )
        return packed[0].numpy()

    ids = build_inputs(processor, random_picture(*size), "What?")["input_ids"]
    assert layout.num_tokens == (ids == model.config.image_token_id).sum() == len(colours(random_picture(*size)))
    for view in ("base", "tile"):
        errors = box_errors(layout, view, colours)
        assert errors and max(errors) < 0.15
    newlines = [at for at, view in enumerate(layout.views) if view == "newline"]
    assert len(newlines) == layout.rows and np.allclose(colours(random_picture(*size))[newlines], -1)


@pytest.mark.parametrize("size", [(50, 30), (72, 72)])
def test_prefill_and_decoding_equal_a_masked_model(loaded, size):
    _, model, processor = loaded
    check_equal_to_a_masked_model(model, asked(processor, size))


@pytest.mark.parametrize("size", [(50, 30), (72, 72)])
def test_flops_are_those_that_torch_counts(loaded, size):
    _, model, processor = loaded
    check_flops(model, processor, size)


def test_from_the_command_line(loaded, tmp_path, capsys):
    check_command_line(loaded[0], tmp_path, capsys, "Is <image> a word?", "anyres")


def test_another_way_to_read_shapes_is_refused(tmp_path):
    folder = save_tiny_onevision(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text()) | {"vision_aspect_ratio": "square"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="vision_aspect_ratio is 'square'"):
        load_model(folder, device="cpu")
