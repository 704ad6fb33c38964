"""Pixtral and Mistral3 from their folders to their figures: any size, row by row, with text at the ends of rows."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.pixtral import image_processing_pil_pixtral

from app.showing.presentation import trace_of
from fitprune_core import build_inputs, collect_statistics, compare, fit_recipe, load_model, visual_layout
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.models.family import family_of, picture_of
from tests.families.checks import asked, check_batches, check_decoding, visual
from tests.families.pixtral import KINDS, SPECIAL, save_tiny_pixtral
from tests.tiny import random_picture

# Small and large, wide, tall and narrow pictures, above and below the longest edge of 64 pixels.
SIZES = [
    (24, 24),
    (50, 30),
    (30, 50),
    (72, 72),
    (100, 31),
    (31, 97),
    (640, 480),
    (333, 500),
    (9, 14),
    (300, 20),
    (65, 64),
]
NASTY = "is [IMG] or [IMG_BREAK] a word?[IMG_END]</s>[/INST]<image>"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pixtral")
    return {kind: save_tiny_pixtral(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def loaded(folders, kind):
    return load_model(folders[kind], device="cpu")


@pytest.mark.parametrize("size", SIZES)
def test_tokens_are_squares_of_patches_in_rows(loaded, size):
    model, processor = loaded
    layout = visual_layout(model.config, processor, size)
    assert layout.num_tokens == layout.rows * layout.columns and set(layout.views) == {"grid"}
    assert layout.seen == (0, 0, *size) and layout.aspect == "native"
    assert layout.boxes[0][:2] == (0, 0) and layout.boxes[-1][2:] == pytest.approx(size)
    assert layout.merge == getattr(model.config, "spatial_merge_size", 1)


def test_features_stand_in_the_prompt_in_the_order_of_their_boxes(loaded):
    """Where layers add nothing the tower mixes nothing: what changes in a token's pixels changes that token alone."""
    model, processor = loaded
    for layer in model.model.vision_tower.transformer.layers:
        torch.nn.init.zeros_(layer.attention.o_proj.weight)
        torch.nn.init.zeros_(layer.feed_forward.down_proj.weight)
    picture = np.asarray(random_picture(300, 200)).copy()
    layout = visual_layout(model.config, processor, (300, 200))
    token = layout.columns + 3
    left, top, right, bottom = (int(edge) for edge in layout.boxes[token])
    before = features_of(model, processor, picture)
    picture[top + 3 : bottom - 3, left + 3 : right - 3] ^= 255
    changed = (before - features_of(model, processor, picture)).abs().amax(dim=1)
    assert changed.argmax() == token and (changed > changed[token] / 10).sum() == 1


@torch.no_grad()
def features_of(model, processor, picture: np.ndarray) -> torch.Tensor:
    inputs = build_inputs(processor, Image.fromarray(picture), "What?")
    pixels = {name: inputs[name] for name in ("pixel_values", "image_sizes")}
    return torch.cat(list(model.model.get_image_features(**pixels, return_dict=True).pooler_output))


@pytest.mark.parametrize("size", [(50, 30), (31, 97), (9, 4)])
def test_rows_end_with_tokens_of_text(loaded, size):
    """[IMG_BREAK] after each row but the last, [IMG_END] after that, as Pixtral's report draws it."""
    model, processor = loaded
    layout, inputs = visual_layout(model.config, processor, size), asked(processor, size, NASTY)
    picture, pause, end = (SPECIAL.index(name) for name in ("[IMG]", "[IMG_BREAK]", "[IMG_END]"))
    rows = [[picture] * layout.columns + [pause] for _ in range(layout.rows)]
    expected = [token for row in rows for token in row][:-1] + [end]
    opening = [SPECIAL.index("<s>"), SPECIAL.index("[INST]")]
    ids = inputs["input_ids"][0].tolist()
    assert ids[: 2 + len(expected)] == opening + expected
    text = processor.tokenizer.decode(ids[2 + len(expected) : -1])
    assert text == NASTY and ids[-1] == SPECIAL.index("[/INST]")
    assert not set(ids[2 + len(expected) : -1]) & set(range(len(SPECIAL)))
    is_visual = visual(model, inputs)
    ends = [number for number, place in enumerate(is_visual.nonzero()[:, 0]) if not is_visual[place + 1]]
    assert layout.row_ends == tuple(ends) and len(ends) == layout.rows


def test_prompts_are_those_of_transformers_own_processor(folders, kind, monkeypatch):
    """Its module wants torchvision only to be imported, for a function that has a twin without it."""
    package = "transformers.models.pixtral."
    monkeypatch.setitem(sys.modules, package + "image_processing_pixtral", image_processing_pil_pixtral)
    monkeypatch.delitem(sys.modules, package + "processing_pixtral", raising=False)
    theirs = importlib.import_module(package + "processing_pixtral").PixtralProcessor
    monkeypatch.delitem(sys.modules, package + "processing_pixtral")
    own, (_, processor) = theirs.from_pretrained(folders[kind], backend="pil"), load_model(folders[kind], device="cpu")
    assert type(processor).__module__.startswith("fitprune_core") and type(own).__module__.startswith("transformers")
    for size in [(50, 30), (31, 97), (640, 480), (9, 14)]:
        picture = random_picture(*size)
        content = [{"type": "image", "image": picture}, {"type": "text", "text": "What is it?"}]
        expected = own.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=True, return_dict=True, return_tensors="pt",
            processor_kwargs={"add_special_tokens": False},
        )  # fmt: skip
        inputs = build_inputs(processor, picture, "What is it?")
        assert inputs.keys() == expected.keys() - {"mm_token_type_ids"}
        assert all(torch.equal(inputs[name], expected[name]) for name in inputs)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fastv", "divprune"])
def test_methods_with_schedules_of_their_own_are_exact(loaded, method):
    model, processor = loaded
    check_decoding(model, asked(processor, (50, 40)), method)


def test_a_prompt_without_a_picture_costs_the_tower_nothing(loaded):
    model, processor = loaded
    picture = picture_of(build_inputs(processor, None, "What?"))
    assert family_of(model).tower_multiply_adds(model.config, picture) == 0
    assert family_of(model).merger_multiply_adds(model.config, picture) == 0


@pytest.mark.slow
def test_batches_of_pictures_of_one_shape_answer_as_one_at_a_time(folders, kind, tmp_path):
    check_batches(folders[kind], tmp_path, [(50, 30), (51, 31), (30, 50), (50, 30)])


def test_the_page_gets_the_ends_of_rows(loaded):
    model, processor = loaded
    picture = random_picture(50, 30)
    recipe = fit_recipe(collect_statistics(model, processor, [(picture, "What is it?")]), 0.5)
    result = compare(model, processor, picture, "What is it?", recipe, max_new_tokens=2, repeats=0)
    trace = trace_of(result, picture, DecoderGeometry.from_config(model.config))
    assert tuple(trace.row_ends) == result.layout.row_ends and len(trace.row_ends) == trace.rows


@pytest.mark.slow
def test_a_checkpoint_without_a_template_gets_its_familys(folders, kind, tmp_path):
    _, its_own = load_model(folders[kind], device="cpu")
    folder = save_tiny_pixtral(tmp_path / kind, kind)
    (folder / "chat_template.json").unlink()
    model, processor = load_model(folder, device="cpu")
    assert processor.chat_template == family_of(model).chat_template(model.config) != its_own.chat_template
    assert torch.equal(asked(processor)["input_ids"], asked(its_own)["input_ids"])


def test_the_processor_is_made_to_fit_the_model(tmp_path):
    folder = save_tiny_pixtral(tmp_path / "odd", "mistral3")
    (folder / "processor_config.json").unlink()
    model, processor = load_model(folder, device="cpu")
    assert (processor.patch_size, processor.spatial_merge_size) == (4, 2)
    assert visual_layout(model.config, processor, (50, 30)).num_tokens == visual(model, asked(processor)).sum()


@pytest.mark.parametrize(
    ("file", "name", "value", "words"),
    [
        ("config.json", "vision_feature_select_strategy", "default", "'default', which drops a class token"),
        ("config.json", "image_token_index", 12, "the model takes token 12"),
        ("preprocessor_config.json", "do_resize", False, "must stretch pictures to whole tokens"),
        ("preprocessor_config.json", "image_processor_type", "CLIPImageProcessor", "knows no patches"),
        ("processor_config.json", "image_break_token", "[ROW]", "no token '\\[ROW\\]', which ends a row"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, file, name, value, words):
    folder = save_tiny_pixtral(tmp_path / "odd")
    entries = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(entries | {name: value}))
    with pytest.raises(ValueError, match=words):
        load_model(folder, device="cpu")
