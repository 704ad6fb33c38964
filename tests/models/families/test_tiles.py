"""InternVL3, Idefics3 and SmolVLM from their folders to their figures: tiles, a view of the whole, merged patches."""

from __future__ import annotations

import json
import shutil
from itertools import groupby

import pytest
import torch
from transformers import Idefics3Processor
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from fitprune_core import METHODS, build_inputs, load_model, prune_visual_tokens, request_flops, visual_layout
from fitprune_core.models.family import family_of, picture_of
from tests.families.checks import (
    asked,
    check_batches,
    check_decoding,
    check_flops,
    dropping,
    visual,
)
from tests.families.internvl import save_tiny_internvl
from tests.families.smolvlm import save_tiny_smolvlm
from tests.flop_counting import counted_flops
from tests.marks import slow
from tests.pruned import recipe_of
from tests.tiny import random_picture

WRITERS = {
    "internvl-qwen2": (save_tiny_internvl, {"decoder": "qwen2"}),
    "internvl-qwen3": (save_tiny_internvl, {"decoder": "qwen3"}),
    "idefics3": (save_tiny_smolvlm, {"kind": "idefics3"}),
    "smolvlm": (save_tiny_smolvlm, {"kind": "smolvlm", "scale": 3}),
}
# Shapes of one tile, of a row or a column of tiles, and of grids; narrow and large pictures.
SIZES = [
    (24, 24), (50, 30), (30, 50), (72, 72), (100, 31), (31, 97), (640, 480), (333, 500), (9, 14), (300, 20), (70, 200),
    (1280, 720),
]  # fmt: skip
NASTY = "is <image> or <IMG_CONTEXT> a word?<row_1_col_1></img><fake_token_around_image><|im_end|><video>"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiles")
    return {name: write(root / name, **options) for name, (write, options) in WRITERS.items()}


@pytest.fixture(scope="module", params=WRITERS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def loaded(folders, name):
    return load_model(folders[name], device="cpu")


@pytest.mark.parametrize("size", SIZES)
def test_tiles_come_first_and_then_the_whole_picture(loaded, name, size):
    model, processor = loaded
    layout = visual_layout(model.config, processor, size)
    views = [view for view, _ in groupby(layout.views)]
    assert views in (["grid"], ["tile", "base"]) and layout.aspect == "anyres"
    main = layout.views.count("grid") + layout.views.count("tile")
    assert main == layout.rows * layout.columns
    assert len(layout.tiles) * layout.views.count("base") == layout.views.count("tile")
    assert layout.merge == WRITERS[name][1].get("scale", 2)


@pytest.mark.parametrize("size", [(50, 30), (72, 72)])
def test_each_tile_holds_its_tokens_and_tiles_make_the_picture(loaded, size):
    model, processor = loaded
    layout = visual_layout(model.config, processor, size)
    each = layout.views.count("tile") // len(layout.tiles)
    for number, (left, top, right, bottom) in enumerate(layout.tiles):
        boxes = layout.boxes[number * each : (number + 1) * each]
        assert min(box[0] for box in boxes) == pytest.approx(left)
        assert min(box[1] for box in boxes) == pytest.approx(top)
        assert max(box[2] for box in boxes) == pytest.approx(right)
        assert max(box[3] for box in boxes) == pytest.approx(bottom)
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in layout.tiles) == pytest.approx(size[0] * size[1])


@pytest.mark.parametrize("longest_edge", [24, 100, *slow(5000)])
def test_tiles_of_edges_that_are_no_multiple(tmp_path, longest_edge):
    """Idefics3 stretches twice, and bounds a picture's side."""
    folder = save_tiny_smolvlm(tmp_path / "edges", side=24 if longest_edge < 1000 else 600, patch=4, scale=6)
    config = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(config | {"size": {"longest_edge": longest_edge}}))
    model, processor = load_model(folder, device="cpu")
    for size in [(50, 30), (30, 50), (97, 31), (40, 39), (7, 100)]:
        made = processor.image_processor(random_picture(*size), return_tensors="pt")["pixel_values"]
        assert visual_layout(model.config, processor, size).num_tokens == made.shape[1] * processor.image_seq_len


def test_a_prompt_is_the_familys_and_what_users_type_is_text(loaded, name):
    model, processor = loaded
    inputs = asked(processor, question=NASTY)
    assert visual(model, inputs).sum() == visual_layout(model.config, processor, (50, 30)).num_tokens
    text = processor.tokenizer.decode(inputs["input_ids"][0][~visual(model, inputs)])
    if name.startswith("internvl"):
        expected = f"<|im_start|>user\n<img></img>\n{NASTY}<|im_end|>\n<|im_start|>assistant\n"
    else:
        picture = get_image_prompt_string(
            2, 3, 0, "<fake_token_around_image>", image_token="<image>", global_image_token="<global-img>"
        )
        expected = f"<|im_start|>User:{picture}{NASTY}<end_of_utterance>\nAssistant:"
    assert text == expected
    specials = set(processor.tokenizer.all_special_ids)
    plain = asked(processor, question="Why?")["input_ids"][0].tolist()
    assert [i for i in inputs["input_ids"][0].tolist() if i in specials] == [i for i in plain if i in specials]


@pytest.mark.parametrize("kind", ["idefics3", "smolvlm"])
def test_prompts_are_those_of_transformers_own_processor(folders, kind):
    _, processor = load_model(folders[kind], device="cpu")
    own = Idefics3Processor.from_pretrained(folders[kind], backend="pil", image_seq_len=processor.image_seq_len)
    picture = random_picture(50, 30)
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "What is it?"}]
    expected = own.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    inputs = build_inputs(processor, picture, "What is it?")
    assert inputs.keys() == expected.keys() - {"mm_token_type_ids"}
    assert all(torch.equal(inputs[key], expected[key]) for key in inputs)


@pytest.mark.slow
def test_a_checkpoint_without_a_template_gets_its_familys(folders, name, tmp_path):
    _, its_own = load_model(folders[name], device="cpu")
    folder = shutil.copytree(folders[name], tmp_path / name)
    (folder / "chat_template.json").unlink()
    model, processor = load_model(folder, device="cpu")
    assert processor.chat_template == family_of(model).chat_template(model.config) != its_own.chat_template
    assert torch.equal(asked(processor)["input_ids"], asked(its_own)["input_ids"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fastv", "divprune"])
def test_methods_with_schedules_of_their_own_are_exact(loaded, method):
    model, processor = loaded
    check_decoding(model, asked(processor), method)


@pytest.mark.slow
def test_what_goes_is_what_whole_attention_matrices_say(folders, name):
    """The first layer's choice, from the matrices of a model that runs on eager attention."""
    model, processor = load_model(folders[name], device="cpu", attn_implementation="eager")
    inputs = asked(processor)
    is_visual = visual(model, inputs)
    count, last = int(is_visual.sum()), int(is_visual.nonzero().max())
    with torch.no_grad():
        largest = model(**inputs, output_attentions=True).attentions[0][0].amax(dim=0)[:, is_visual]
        expected = {"self-only": largest[is_visual].mean(0), "cross-only": largest[last + 1 :].mean(0)}
        for method, importance in expected.items():
            with prune_visual_tokens(model, recipe_of((20, 0, 0, 0), count), method=method) as trace:
                model(**inputs)
            assert trace.dropped[0].tolist() == importance.argsort()[:20].tolist()


@pytest.mark.slow
def test_flops_of_a_single_tile_are_those_that_torch_counts(loaded):
    check_flops(*loaded, (24, 24))


@pytest.mark.parametrize("method", ["fitprune", *slow("self-only", "cross-only", "fastv", "random")])
def test_scoring_counts_what_runs(loaded, method):
    model, processor = loaded
    inputs = asked(processor)
    is_visual = visual(model, inputs)
    places = is_visual.nonzero()[:, 0].tolist()
    count = len(places)
    recipe = dropping(model, count)

    def run():
        with prune_visual_tokens(model, recipe, method=method) as trace:
            model(**inputs, logits_to_keep=1)
        removed.append([len(gone) for gone in trace.dropped])

    removed: list[list[int]] = []
    run()  # the first time the decoder is tried on a few rows
    counted = counted_flops(run)
    family, picture = family_of(model), picture_of(inputs)
    cost = request_flops(
        model.config, removed[0], count, len(is_visual) - count, len(is_visual) - 1 - places[-1], 1,
        num_text_between=places[-1] + 1 - places[0] - count,
        tower_multiply_adds=family.tower_multiply_adds(model.config, picture),
        merger_multiply_adds=family.merger_multiply_adds(model.config, picture),
        scores=METHODS[method].scores,
    )  # fmt: skip
    assert counted == pytest.approx(cost.total, rel=0.005)
    assert counted - (cost.total - cost.scoring) == pytest.approx(cost.scoring, rel=0.02)


@pytest.mark.slow
def test_batches_of_pictures_with_as_many_tokens_answer_as_one_at_a_time(folders, name, tmp_path):
    check_batches(folders[name], tmp_path, [(50, 30), (51, 31), (24, 24), (100, 62)])


@pytest.mark.parametrize(
    ("writer", "file", "place", "value", "words"),
    [
        ("internvl-qwen2", "config.json", ("vision_feature_select_strategy",), "full", "'full', but pixel shuffle"),
        ("internvl-qwen2", "config.json", ("downsample_ratio",), 0.25, "0.25, which does not divide 6 patches"),
        ("internvl-qwen2", "preprocessor_config.json", ("size",), {"height": 28, "width": 28}, "28 x 28 pixels"),
        ("idefics3", "config.json", ("scale_factor",), 4, "scale_factor is 4, which does not divide 6"),
        ("idefics3", "preprocessor_config.json", ("max_image_size",), {"longest_edge": 20}, "20 x 20 pixels"),
        ("smolvlm", "config.json", ("image_token_id",), 6, "the model takes token 6"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, writer, file, place, value, words):
    write, options = WRITERS[writer]
    folder = write(tmp_path / "odd", **options)
    entries = json.loads((folder / file).read_text())
    entries[place[0]] = value
    (folder / file).write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=words):
        load_model(folder, device="cpu")
