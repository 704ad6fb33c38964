"""The processor of a checkpoint is made to fit its model, or refused; pictures are cropped or padded as asked."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fitprune_core import build_inputs, load_model, visual_layout
from tests.marks import slow
from tests.official_hr import write_checkpoint
from tests.tiny import random_picture, save_tiny_llava

KINDS = {
    "clip": {},
    "siglip": {"tower": "siglip", "decoder": "qwen2", "prompt": "qwen"},
    "next": {"family": "llava_next", "decoder": "mistral", "prompt": "mistral"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny checkpoint of each kind, in the layout of the Hub. Do not change them."""
    root = tmp_path_factory.mktemp("kinds")
    return {name: save_tiny_llava(root / name, **options) for name, options in KINDS.items()}


@pytest.fixture
def copied(folders, tmp_path):
    """Copies a checkpoint and changes a JSON file of it: {field: value}, None to take a field away."""

    def copy(kind, file="processor_config.json", **changes):
        folder = shutil.copytree(folders[kind], tmp_path / kind)
        entries = json.loads((folder / file).read_text()) | changes
        entries = {name: value for name, value in entries.items() if value is not None}
        (folder / file).write_text(json.dumps(entries))
        return folder

    return copy


def placeholders(model, processor, picture) -> int:
    ids = build_inputs(processor, picture, "What?")["input_ids"]
    return int((ids == model.config.image_token_id).sum())


class TestFit:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "changes",
        [
            {"patch_size": None, "num_additional_image_tokens": None, "vision_feature_select_strategy": None},
            {"num_additional_image_tokens": None},
            {"patch_size": 3},
            {"vision_feature_select_strategy": "full", "num_additional_image_tokens": 1},
        ],
    )
    def test_a_processor_that_is_silent_or_wrong_is_put_right(self, copied, folders, kind, changes):
        whole, its_processor = load_model(folders[kind], device="cpu")
        model, processor = load_model(copied(kind, **changes), device="cpu")
        picture = random_picture(50, 30)
        assert placeholders(model, processor, picture) == placeholders(whole, its_processor, picture)
        model(**build_inputs(processor, picture, "What?"))  # transformers counts the features itself

    @slow
    def test_a_batch_is_padded_where_generate_does_not_go_on(self, copied):
        """Prompts of unlike length answer together as they do alone, whatever side the tokenizer's file says."""
        model, processor = load_model(copied("clip", "tokenizer_config.json", padding_side="right"), device="cpu")
        alone = [build_inputs(processor, random_picture(seed=at), f"What{' is' * at}?") for at in (1, 9)]
        prompts = [
            processor.tokenizer.decode(each["input_ids"][0]).replace("<image>" * 36, "<image>") for each in alone
        ]
        together = processor(images=[random_picture(seed=at) for at in (1, 9)], text=prompts, padding=True,
                             add_special_tokens=False, return_tensors="pt")  # fmt: skip
        assert together["attention_mask"].min() == 0
        answers = [model.generate(**each, do_sample=False, max_new_tokens=4)[0, -4:] for each in alone]
        both = model.generate(**together, do_sample=False, max_new_tokens=4)[:, -4:]
        assert both.tolist() == [answer.tolist() for answer in answers]

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_layout_of_older_checkpoints(self, copied, kind):
        """Only a preprocessor_config.json: neither patch size nor strategy nor additional tokens are written down."""
        folder = copied(kind)
        entries = json.loads((folder / "processor_config.json").read_text())
        old = entries["image_processor"] | {"processor_class": entries["processor_class"]}
        (folder / "preprocessor_config.json").write_text(json.dumps(old))
        (folder / "processor_config.json").unlink()
        model, processor = load_model(folder, device="cpu")
        inputs = build_inputs(processor, random_picture(50, 30), "What?")
        assert model(**inputs).logits.shape[1] == inputs["input_ids"].shape[1]

    def test_tiles_are_the_models(self, copied):
        folder = copied("next")
        entries = json.loads((folder / "processor_config.json").read_text())
        entries["image_processor"]["image_grid_pinpoints"] = [[24, 24]]
        (folder / "processor_config.json").write_text(json.dumps(entries))
        model, processor = load_model(folder, device="cpu")
        assert processor.image_processor.image_grid_pinpoints == model.config.image_grid_pinpoints
        model(**build_inputs(processor, random_picture(50, 30), "What?"))

    @pytest.mark.parametrize(
        ("kind", "changes", "words"),
        [
            ("clip", {"image_token_index": 7}, "<image> is token 3; the model takes token 7"),
            ("siglip", {"vision_feature_select_strategy": "default"}, "'siglip_vision_model' has none"),
            ("next", {"vision_feature_select_strategy": "full"}, "no place for a class token"),
        ],
    )
    def test_configurations_that_cannot_be(self, copied, kind, changes, words):
        with pytest.raises(ValueError, match=words):
            load_model(copied(kind, "config.json", **changes), device="cpu")

    @pytest.mark.parametrize("kind", ["clip", "siglip"])
    def test_another_picture_size_is_refused(self, copied, kind):
        size = {"shortest_edge": 32} if kind == "clip" else {"height": 32, "width": 32}
        folder = copied(kind)
        entries = json.loads((folder / "processor_config.json").read_text())
        entries["image_processor"] |= {"size": size, "crop_size": {"height": 32, "width": 32}}
        (folder / "processor_config.json").write_text(json.dumps(entries))
        with pytest.raises(ValueError, match="32 x 32 pixels; the vision tower reads 24 x 24"):
            load_model(folder, device="cpu")

    def test_a_tower_that_nobody_knows(self, copied):
        folder = copied("clip")
        config = json.loads((folder / "config.json").read_text())
        config["vision_config"] = {"model_type": "vit", "hidden_size": 32, "image_size": 24, "patch_size": 4}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match="tower of type 'vit' is not known"):
            load_model(folder, device="cpu")

    def test_no_image_processor(self, copied):
        folder = copied("clip")
        (folder / "processor_config.json").unlink()
        with pytest.raises(ValueError, match="preprocessor_config.json"):
            load_model(folder, device="cpu")


class TestAspect:
    @pytest.mark.parametrize("kind", ["clip", "siglip"])
    @pytest.mark.parametrize("size", [(60, 30), (30, 61), *slow((24, 24), (1, 90))])
    def test_padding_is_that_of_the_authors(self, folders, kind, size):
        """LLaVA's expand2square, written out: a square of the mean pixel, the picture in its middle, then resized."""
        _, processor = load_model(folders[kind], device="cpu", image_aspect="pad")
        picture = random_picture(*size)
        pixels = processor.image_processor(picture, return_tensors="np")["pixel_values"][0]
        mean, std = (np.array(getattr(processor.image_processor, name)) for name in ("image_mean", "image_std"))
        side = max(size)
        square = Image.new("RGB", (side, side), tuple(int(255 * value) for value in mean))
        square.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
        expected = np.asarray(square.resize((24, 24), resample=3)) / 255
        assert np.allclose(pixels, ((expected - mean) / std).transpose(2, 0, 1), atol=1e-5)

    @pytest.mark.parametrize("kind", ["clip", "siglip"])
    def test_boxes_follow(self, folders, kind):
        model, processor = load_model(folders[kind], device="cpu", image_aspect="pad")
        layout = visual_layout(model.config, processor, (48, 24))
        assert (layout.aspect, layout.seen, layout.num_tokens) == ("pad", (0, 0, 48, 24), 36)
        # The picture fills the middle half of the square: from half of the second of its six rows to half of the fifth.
        assert [layout.boxes[6 * row] is None for row in range(6)] == [True, False, False, False, False, True]
        assert layout.boxes[6] == pytest.approx((0, 0, 8, 4)) and layout.boxes[12] == pytest.approx((0, 4, 8, 12))
        assert placeholders(model, processor, Image.new("RGB", (48, 24))) == 36

    @pytest.mark.slow
    def test_auto_is_the_checkpoints_own_way(self, folders):
        aspects = {}
        for kind, folder in folders.items():
            model, processor = load_model(folder, device="cpu")
            aspects[kind] = visual_layout(model.config, processor, (48, 24)).aspect
        assert aspects == {"clip": "crop", "siglip": "stretch", "next": "anyres"}

    @pytest.mark.slow
    def test_a_checkpoint_that_pads_can_crop_again(self, folders, tmp_path):
        picture = random_picture(60, 30)
        model, padding = load_model(folders["clip"], device="cpu", image_aspect="pad")
        model.save_pretrained(tmp_path)
        padding.save_pretrained(tmp_path)
        pixels = [
            load_model(folder, device="cpu", image_aspect=aspect)[1].image_processor(picture)["pixel_values"][0]
            for folder, aspect in ((tmp_path, "auto"), (tmp_path, "crop"), (folders["clip"], "crop"))
        ]
        assert np.array_equal(pixels[0], padding.image_processor(picture)["pixel_values"][0])
        assert np.allclose(pixels[1], pixels[2], atol=1e-6) and not np.allclose(pixels[0], pixels[1], atol=0.1)

    @pytest.mark.slow
    @pytest.mark.parametrize("aspect", ["crop", "pad"])
    def test_models_with_a_way_of_their_own_refuse(self, folders, tmp_path, aspect):
        from fitprune_core.models.llava_hr.convert import convert

        with pytest.raises(ValueError, match=f"image_aspect is '{aspect}', but LLaVA-NeXT reads a picture in tiles"):
            load_model(folders["next"], device="cpu", image_aspect=aspect)
        write_checkpoint(tmp_path / "source")
        convert(tmp_path / "source", tmp_path / "hr")
        with pytest.raises(ValueError, match=f"image_aspect is '{aspect}', but LLaVA-HR always pads"):
            load_model(tmp_path / "hr", device="cpu", image_aspect=aspect)

    def test_other_values_are_named(self, folders):
        with pytest.raises(ValueError, match="image_aspect is 'squeeze'; use auto, crop, pad"):
            load_model(folders["clip"], device="cpu", image_aspect="squeeze")
        with pytest.raises(ValueError, match="this checkpoint stretches pictures"):
            load_model(folders["siglip"], device="cpu", image_aspect="crop")
