"""LLaVA-OneVision from its folder to its figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fitprune_core import (
    build_inputs,
    collect_statistics,
    compare,
    fit_recipe,
    load_model,
    prune_visual_tokens,
    visual_layout,
)
from fitprune_core.cli.main import main
from tests.coordinates import box_errors
from tests.families.llava_onevision import save_tiny_onevision
from tests.flop_counting import counted_flops
from tests.pruned import recipe_of
from tests.reference import reference_logits
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
    inputs = build_inputs(processor, random_picture(*size), "What is it?")
    count = int((inputs["input_ids"] == model.config.image_token_id).sum())
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "output_logits": True}
    options |= {"return_dict_in_generate": True, "suppress_tokens": [model.config.image_token_id]}
    plain = model(**inputs).logits
    with torch.no_grad(), prune_visual_tokens(model, recipe_of((9, 0, 20), count)) as trace:
        output = model.generate(**inputs, **options)
    kept = list(trace.kept)
    images = {name: inputs[name] for name in ("image_sizes", "batch_num_images") if name in inputs}
    for step, logits in enumerate(output.logits):
        ids = output.sequences[:, : inputs["input_ids"].shape[1] + step]
        expected = reference_logits(model, ids, inputs["pixel_values"], kept, **images)[:, -1]
        assert (logits - expected).abs().max() < 1e-4
    assert torch.equal(model(**inputs).logits, plain)


@pytest.mark.parametrize("size", [(50, 30), (72, 72)])
def test_flops_are_those_that_torch_counts(loaded, size):
    _, model, processor = loaded
    picture = random_picture(*size)
    recipe = fit_recipe(collect_statistics(model, processor, [(picture, "What?")]), 0.0)
    run = compare(model, processor, picture, "What?", recipe, max_new_tokens=3, repeats=0).original
    inputs = build_inputs(processor, picture, "What?")
    options = {"max_new_tokens": run.new_tokens, "min_new_tokens": run.new_tokens, "do_sample": False}
    assert run.flops.total == pytest.approx(counted_flops(lambda: model.generate(**inputs, **options)), rel=0.005)


def test_from_the_command_line(loaded, tmp_path, capsys):
    folder, _, _ = loaded
    random_picture(50, 30).save(tmp_path / "p.png")
    (tmp_path / "s.jsonl").write_text(json.dumps({"id": "1", "image": "p.png", "question": "What?", "answer": "x"}))
    store = tmp_path / "recipes" / folder.name / "statistics.npz"
    model, samples = ["--model", str(folder), "--device", "cpu"], ["--samples", str(tmp_path / "s.jsonl")]
    recipes = ["--recipes", str(tmp_path / "recipes"), "--max-new-tokens", "2", "--reduction", "0.5"]
    assert main(["calibrate", *model, *samples, "--out", str(store)]) == 0
    recipe = ["--reduction", "0.5", "--out", str(tmp_path / "r.json")]
    assert main(["fit", "--statistics", str(store), *recipe]) == 0
    assert main(["evaluate", *model, *samples, *recipes, "--out", str(tmp_path / "r.csv")]) == 0
    capsys.readouterr()
    asked = ["--image", str(tmp_path / "p.png"), "--question", "Is <image> a word?", "--json"]
    assert main(["compare", *model, *asked, *recipes]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["aspect"] == "anyres"


def test_another_way_to_read_shapes_is_refused(tmp_path):
    folder = save_tiny_onevision(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text()) | {"vision_aspect_ratio": "square"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="vision_aspect_ratio is 'square'"):
        load_model(folder, device="cpu")
