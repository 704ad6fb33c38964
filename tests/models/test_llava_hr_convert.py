import json

import numpy as np
import pytest
import torch
from PIL import Image

from fitprune_core import PruningRecipe, build_inputs, load_model, prune_visual_tokens, visual_layout
from fitprune_core.models.llava_hr.convert import convert, main
from tests.coordinates import box_errors, patch_colours
from tests.marks import slow
from tests.official_hr import CASES, formula_pixels, largest_difference, write_checkpoint
from tests.tiny import random_picture


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """(folder, weights by the authors' names) of a checkpoint converted from .bin files."""
    folder = tmp_path_factory.mktemp("hr")
    weights = write_checkpoint(folder / "source")
    assert main([str(folder / "source"), str(folder / "here")]) == 0
    return folder / "here", weights


@pytest.fixture(scope="module")
def loaded(converted):
    return load_model(converted[0], device="cpu")


@pytest.mark.slow
@torch.no_grad()
def test_converted_checkpoint_loads_and_sees_what_the_authors_tower_sees(converted):
    folder, weights = converted
    model, _ = load_model(folder, device="cpu")
    tower = model.model.vision_tower(formula_pixels(384)).last_hidden_state
    assert largest_difference(tower[0], CASES[384]["tower_output"]) < 1e-4
    layer = model.model.language_model.layers[1]
    assert torch.equal(layer.mlp.down_proj.weight, weights["model.layers.1.mlp.down_proj.weight"])
    head = model.lm_head.weight
    assert model.config.image_token_id == 130 and head.shape[0] == 192
    assert torch.equal(head[:130], weights["lm_head.weight"])
    assert torch.allclose(head[130:], weights["lm_head.weight"].mean(dim=0).expand(62, -1))


@pytest.mark.slow
def test_safetensors_and_bin_give_the_same(converted, tmp_path):
    write_checkpoint(tmp_path / "source", safetensors=True)
    convert(tmp_path / "source", tmp_path / "here")
    one, other = (load_model(folder, device="cpu")[0].state_dict() for folder in (converted[0], tmp_path / "here"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_pictures_are_padded_as_the_authors_pad(converted):
    _, processor = load_model(converted[0], device="cpu")
    picture = random_picture(60, 30)
    pixels = processor.image_processor(picture, return_tensors="np")["pixel_values"][0]
    mean, std = (np.array(getattr(processor.image_processor, name)) for name in ("image_mean", "image_std"))
    square = Image.new("RGB", (60, 60), tuple(int(255 * value) for value in mean))
    square.paste(picture, (0, 15))
    expected = np.asarray(square.resize((384, 384), resample=3)) / 255
    assert np.allclose(pixels, ((expected - mean) / std).transpose(2, 0, 1), atol=1e-5)


@pytest.mark.slow
def test_boxes_leave_the_padding_out(converted):
    model, processor = load_model(converted[0], device="cpu")
    layout = visual_layout(model.config, processor, (48, 24))
    assert (layout.num_tokens, layout.rows, layout.columns, layout.aspect) == (576, 24, 24, "pad")
    assert layout.boxes[: 6 * 24] == (None,) * 144 and layout.boxes[-144:] == (None,) * 144
    assert layout.boxes[6 * 24] == pytest.approx((0, 0, 2, 2))
    assert layout.boxes[17 * 24 + 23] == pytest.approx((46, 22, 48, 24))


@pytest.mark.parametrize(
    "image_size",
    [(384, 384), (427, 640), (97, 101), *slow((640, 480), (480, 640), (1000, 300), (300, 1000), (333, 1999), (20, 20)),
     *slow((1280, 720), (500, 501), (768, 1024))],
)  # fmt: skip
def test_boxes_are_where_the_processor_looks(loaded, image_size):
    model, processor = loaded
    layout = visual_layout(model.config, processor, image_size)
    side = model.config.vision_config.image_size // model.config.vision_config.grid
    errors = box_errors(layout, "grid", lambda picture: patch_colours(processor, picture, side), samples=4)
    assert len(errors) >= 3 and max(errors) < 0.1
    assert layout.seen == pytest.approx((0, 0, *image_size))


@pytest.mark.slow
@torch.no_grad()
def test_it_can_be_pruned(converted):
    model, processor = load_model(converted[0], device="cpu")
    inputs = build_inputs(processor, random_picture(), "is <image> a word?")
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == 576
    recipe = PruningRecipe(
        model="hr",
        num_layers=2,
        num_visual_tokens=576,
        reduction=0.5,
        achieved_reduction=0.5,
        removed=(300, 0),
        alpha=None,
        num_samples=None,
        procedure="statistics",
        attention="both",
        source="a test",
    )
    with prune_visual_tokens(model, recipe) as trace:
        pruned = model(**inputs).logits.shape[1]
    assert [len(kept) for kept in trace.kept] == [276, 276]
    assert pruned == model(**inputs).logits.shape[1] - 300


@pytest.mark.parametrize(("config", "words"), [("[1]", "no object"), ('{"mm_vision_tower_slow": "x"', "not JSON")])
def test_a_configuration_that_is_none_is_told_in_one_line(tmp_path, capsys, config, words):
    write_checkpoint(tmp_path / "source")
    (tmp_path / "source" / "config.json").write_text(config)
    assert main([str(tmp_path / "source"), str(tmp_path / "here")]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


@pytest.mark.slow
def test_sizes_that_are_missing_are_named_and_a_disk_that_fills_leaves_nothing(tmp_path, capsys, monkeypatch):
    write_checkpoint(tmp_path / "source")
    path = tmp_path / "source" / "config.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in entries.items() if name != "vocab_size"}))
    assert main([str(tmp_path / "source"), str(tmp_path / "here")]) == 2
    assert "vocab_size" in capsys.readouterr().err
    path.write_text(json.dumps(entries))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fitprune_core.models.llava_hr.convert._processor", full)
        assert main([str(tmp_path / "source"), str(tmp_path / "here")]) == 2
        assert "No space left" in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source"]
    assert main([str(tmp_path / "source"), str(tmp_path / "here")]) == 0


def rename(old, new):
    return lambda weights: weights.update({new: weights.pop(old)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.update({"model.extra": torch.zeros(1)}), "'model.extra'"),
        (lambda weights: weights.update({"model.layers.2.mlp.up_proj.weight": torch.zeros(64, 40)}), "layers.2.mlp"),
        (lambda weights: weights.pop("model.mm_projector.2.bias"), "lacks .*linear_2.bias"),
        (rename("model.vision_tower.align_stages.0.fast_proj.bias", "model.vision_tower.oops"), "oops"),
        (lambda weights: weights.update({"model.norm.weight": torch.zeros(41)}), "shape .41,."),
        (lambda weights: weights.update({"model.norm.weight": pytest.approx(1)}), "cannot be read as weights"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, capsys, change, message):
    write_checkpoint(tmp_path / "source", change=change)
    assert main([str(tmp_path / "source"), str(tmp_path / "here")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "source", tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_another_model_is_refused(tmp_path):
    write_checkpoint(tmp_path / "source")
    (tmp_path / "source" / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ValueError, match="no checkpoint of LLaVA-HR"):
        convert(tmp_path / "source", tmp_path / "here")
