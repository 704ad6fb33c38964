"""Boxes are checked against what the image processors of transformers really do with a picture."""

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, LlavaImageProcessorPil, LlavaProcessor, SiglipImageProcessorPil

from fitprune_core import build_inputs, visual_layout
from tests.coordinates import box_errors, patch_colours
from tests.marks import slow
from tests.tiny import tiny_llava, tiny_tokenizer

SIZES = [
    (336, 336), (97, 101), (50, 20), (31, 97),
    *slow((640, 480), (1000, 300), (300, 1000), (24, 24), (480, 640), (427, 640), (1280, 720), (500, 501)),
]  # fmt: skip
GRID, PATCH = 12, 14


def processor_with(image_processor) -> LlavaProcessor:
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tiny_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


@cache
def _tiny_config():
    return tiny_llava()[0].config


def config_with(**vision):
    config = deepcopy(_tiny_config())
    config.vision_config.patch_size = PATCH
    config.vision_config.image_size = GRID * PATCH
    for name, value in vision.items():
        setattr(config.vision_config, name, value)
    return config


def cropping():
    side = GRID * PATCH
    return processor_with(
        CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    )


def padding():
    side = GRID * PATCH
    return processor_with(
        LlavaImageProcessorPil(do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    )


def siglip():
    """Whole patches do not fill SigLIP's pictures: the last pixels are in none."""
    side = GRID * PATCH + 6
    processor = processor_with(SiglipImageProcessorPil(size={"height": side, "width": side}))
    processor.num_additional_image_tokens, processor.vision_feature_select_strategy = 0, "full"
    return processor


def stretching():
    side = GRID * PATCH
    return processor_with(CLIPImageProcessorPil(size={"height": side, "width": side}, do_center_crop=False))


@pytest.mark.slow
@pytest.mark.parametrize("image_size", SIZES)
@pytest.mark.parametrize("make", [cropping, padding, stretching, siglip])
def test_box_centres_are_where_the_processor_looks(make, image_size):
    processor, config = make(), config_with()
    layout = visual_layout(config, processor, image_size)
    assert layout.num_tokens == GRID * GRID == layout.rows * layout.columns
    errors = box_errors(layout, "grid", lambda picture: patch_colours(processor, picture, PATCH))
    assert len(errors) >= 3 and max(errors) < 0.1
    assert layout.seen == _union(layout.boxes)


def _union(boxes):
    real = [box for box in boxes if box is not None]
    return (min(b[0] for b in real), min(b[1] for b in real), max(b[2] for b in real), max(b[3] for b in real))


def test_crop_leaves_the_sides_unseen():
    layout = visual_layout(config_with(), cropping(), (640, 480))
    assert layout.aspect == "crop"
    assert layout.seen == pytest.approx((80, 0, 560, 480), abs=3)
    assert all(view == "grid" for view in layout.views)


def test_pad_sees_everything_and_has_tokens_without_picture():
    layout = visual_layout(config_with(), padding(), (640, 320))
    assert layout.aspect == "pad" and layout.seen == (0, 0, 640, 320)
    assert layout.boxes[0] is None and layout.boxes[GRID * GRID // 2] is not None
    assert sum(box is None for box in layout.boxes) == GRID * GRID // 2


def test_class_token_is_counted_but_shows_nothing():
    processor = cropping()
    processor.vision_feature_select_strategy = "full"
    layout = visual_layout(config_with(), processor, (100, 100))
    assert layout.num_tokens == GRID * GRID + 1
    assert layout.boxes[0] is None and layout.views[0] == "class"


def test_as_many_boxes_as_placeholders(tiny):
    model, processor = tiny
    layout = visual_layout(model.config, processor, (48, 36))
    ids = build_inputs(processor, Image.new("RGB", (48, 36)), "What?")["input_ids"]
    assert layout.num_tokens == (ids == model.config.image_token_id).sum()


def test_empty_picture_is_refused():
    with pytest.raises(ValueError, match="0 x 5"):
        visual_layout(config_with(), cropping(), (0, 5))


# ---- LLaVA-NeXT: tiles of any resolution

ANYRES_SIZES = [(97, 101), (427, 640), (1000, 300), (20, 20)]
MORE_SIZES = [
    (336, 336), (640, 480), (480, 640), (300, 1000), (333, 1999), (1999, 333), (1280, 720), (500, 501), (768, 1024),
]  # fmt: skip


@pytest.fixture(scope="module")
def next_model():
    return tiny_llava(family="llava_next")


def next_colours(model, processor, image) -> np.ndarray:
    """Mean red and green (from 0 to 255) of what each visual token sees, by the model's own packing; newlines -1."""
    inputs = processor.image_processor(image, return_tensors="pt", do_normalize=False)
    pixels, sizes = inputs["pixel_values"][0] * 255, inputs["image_sizes"]
    patch = model.config.vision_config.patch_size
    features = torch.nn.functional.avg_pool2d(pixels, patch).flatten(2).transpose(1, 2)
    newline = torch.full((features.shape[-1],), -1.0)
    packed, _ = model.model.pack_image_features([features], sizes, "default", image_newline=newline)
    return packed[0][:, :2].numpy()


@pytest.mark.parametrize("image_size", [*ANYRES_SIZES, *slow(*MORE_SIZES)])
def test_anyres_boxes_are_where_the_model_looks(next_model, image_size):
    model, processor = next_model
    layout = visual_layout(model.config, processor, image_size)
    blank = next_colours(model, processor, Image.new("RGB", image_size, (200, 200, 200)))
    assert layout.num_tokens == len(blank)
    assert [view == "newline" for view in layout.views] == (blank[:, 0] == -1).tolist()
    for view in ("base", "tile"):
        errors = box_errors(layout, view, lambda picture: next_colours(model, processor, picture), samples=4)
        assert len(errors) >= 3 and max(errors) < 0.1


def test_anyres_names_views_and_grids(next_model):
    model, processor = next_model
    layout = visual_layout(model.config, processor, (640, 480))
    assert layout.aspect == "anyres" and layout.seen == (0, 0, 640, 480)
    assert layout.views[:36] == ("base",) * 36
    line = layout.columns + 1
    assert layout.num_tokens == 36 + layout.rows * line
    assert layout.views[36 : 36 + line] == ("tile",) * layout.columns + ("newline",)
    assert layout.boxes[36 + line - 1] is None


def test_anyres_has_as_many_boxes_as_placeholders(next_model):
    model, processor = next_model
    for image_size in ANYRES_SIZES + MORE_SIZES:
        ids = build_inputs(processor, Image.new("RGB", image_size), "What?")["input_ids"]
        assert (
            visual_layout(model.config, processor, image_size).num_tokens == (ids == model.config.image_token_id).sum()
        )
