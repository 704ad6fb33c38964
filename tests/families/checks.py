"""What holds for every family, on a tiny checkpoint: exact pruning, counted FLOPs, the command line."""

from __future__ import annotations

import json
from functools import partial, update_wrapper
from pathlib import Path

import numpy as np
import pytest
import torch

from fitprune_core import build_inputs, collect_statistics, compare, fit_recipe, prune_visual_tokens
from fitprune_core.cli.main import main
from fitprune_core.models.family import family_of
from fitprune_core.run.answer import UNPRUNED, Way, answer, prepare
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.looking import look
from fitprune_core.run.seen import Seen
from tests.flop_counting import counted_flops
from tests.pruned import recipe_of
from tests.reference import masked_logits
from tests.tiny import random_picture


def asked(processor, size=(50, 30), question="What is it?", seed=0):
    return build_inputs(processor, random_picture(*size, seed=seed), question)


def visual(model, inputs) -> torch.Tensor:
    return inputs["input_ids"][0] == model.config.image_token_id


def dropping(model, *counts: int):
    """A recipe that drops so many visual tokens at the first layer that may, two layers on, and at the last.

    Left out, they are about three quarters in all. The first of `counts` is of all visual tokens.
    """
    tokens, *removed = counts if len(counts) > 1 else (counts[0], counts[0] // 4, counts[0] // 3, counts[0] // 6)
    layers, first = model.config.text_config.num_hidden_layers, family_of(model).first_drop_layer(model.config)
    at_layers = [0] * layers
    for layer, count in zip((first, min(first + 2, layers - 1), layers - 1), removed, strict=True):
        at_layers[layer] += count
    return recipe_of(at_layers, tokens)


@torch.no_grad()
def check_looking(model, processor) -> None:
    """Three tokens on, both ways have the distributions of the plain model and of the masked one."""
    inputs = asked(processor)
    count, words = int(visual(model, inputs).sum()), (40, 41, 42)
    recipe = dropping(model, count)
    found = look(model, processor, random_picture(50, 30), "What is it?", (UNPRUNED, Way.of(recipe, "fitprune")), words)
    with prune_visual_tokens(model, recipe) as trace:
        model(**inputs)
    everything = [torch.arange(count)] * len(trace.kept)
    for sight, kept in zip(found.sights, (everything, trace.kept), strict=True):
        expected = torch.softmax(masked_logits(model, inputs, kept, words)[0, -1].double(), -1)
        assert [share for *_, share in sight.likeliest] == pytest.approx(expected.topk(5).values.tolist(), abs=1e-4)
        arriving = [everything[0], *kept[:-1]]
        for row, tokens in zip(sight.attention, arriving, strict=True):
            assert np.isfinite(row).nonzero()[0].tolist() == tokens.tolist() and 0 < np.nansum(row) < 1


@torch.no_grad()
def check_prefill(model, inputs) -> None:
    """Every position of text has the masked model's logits, wherever it stands, with a single visual token left."""
    is_visual = visual(model, inputs)
    count = int(is_visual.sum())
    plain = model(**inputs).logits
    with prune_visual_tokens(model, dropping(model, count, count - 9, 5, 3)) as trace:
        logits = model(**inputs, use_cache=False).logits[0]
    assert len(trace.kept[-1]) == 1 and logits.shape[0] == 1 + int((~is_visual).sum())
    expected = masked_logits(model, inputs, trace.kept)[0]
    positions = trace.positions
    is_text = ~is_visual[positions]
    assert is_text.sum() == (~is_visual).sum()
    assert (logits[is_text] - expected[positions][is_text]).abs().max() < 1e-4
    assert (logits[-1] - plain[0, -1]).abs().max() > 1e-3
    assert torch.equal(model(**inputs).logits, plain)


@torch.no_grad()
def check_decoding(model, inputs, method: str = "fitprune") -> None:
    """Five steps of `generate` equal a masked model's, and before and after they are a plain model's."""
    count = int(visual(model, inputs).sum())
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "output_logits": True}
    options |= {"return_dict_in_generate": True, "suppress_tokens": [model.config.image_token_id]}
    plain = model.generate(**inputs, **options)
    with prune_visual_tokens(model, dropping(model, count), method=method) as trace:
        output = model.generate(**inputs, **options)
    kept = list(trace.kept)
    assert len(kept[-1]) < count
    new = output.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    for step, logits in enumerate(output.logits):
        expected = masked_logits(model, inputs, kept, new[:step], trace.kept_before)[:, -1]
        assert (logits - expected).abs().max() < 1e-4
    assert (output.logits[0] - plain.logits[0]).abs().max() > 1e-3
    again = model.generate(**inputs, **options)
    assert all(torch.equal(*both) for both in zip(again.logits, plain.logits, strict=True))


def check_seen_once(model, processor, monkeypatch) -> None:
    """A batch whose pictures are seen once, for all ways, is answered to the bit as if they were seen for each."""
    prompts = [prepare(model, processor, random_picture(50, 30, seed=seed), "What is it?") for seed in range(2)]
    recipe = dropping(model, int(visual(model, prompts[0]).sum()))
    ways, runs = [UNPRUNED, *(Way.of(recipe, method) for method in ("fitprune", "random"))], []
    see = model.model.get_image_features

    def counted(*args, **kwargs):
        runs.append(kwargs)
        return see(*args, **kwargs)

    monkeypatch.setattr(model.model, "get_image_features", update_wrapper(counted, see), raising=False)
    apart = [answer(model, processor, prompts, way, Decoding(4)) for way in ways]
    assert len(runs) == 3
    seen = Seen()
    together = [answer(model, processor, prompts, way, Decoding(4), seen=seen) for way in ways]
    assert len(runs) == 4
    assert not {"hidden_states", "attentions"} & set(seen._features)
    for one, other in zip(apart, together, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert (mine.token_ids, mine.margin, mine.cost) == (theirs.token_ids, theirs.margin, theirs.cost)
    assert len({each.margin for each in sum(together, [])}) > 3


def check_flops(model, processor, size: tuple[int, int]) -> None:
    """Of a whole request, of tower and merger, and of the merger alone, as torch counts them."""
    picture, inputs = random_picture(*size), asked(processor, size)
    recipe = fit_recipe(collect_statistics(model, processor, [(picture, "What is it?")]), 0.0)
    run = compare(model, processor, picture, "What is it?", recipe, max_new_tokens=3, repeats=0).original
    options = {"max_new_tokens": run.new_tokens, "min_new_tokens": run.new_tokens, "do_sample": False}
    assert run.flops.total == pytest.approx(counted_flops(lambda: model.generate(**inputs, **options)), rel=0.005)
    names = ("pixel_values", "pixel_attention_mask", "image_sizes", "image_grid_thw")
    pixels = {name: inputs[name] for name in names if name in inputs}
    arrived: list[tuple] = []
    hooks = [
        merger.register_forward_pre_hook(lambda module, args: arrived.append((module, args)))
        for merger in _mergers(model)
    ]
    views = counted_flops(lambda: model.get_image_features(**pixels, return_dict=True))
    for hook in hooks:
        hook.remove()
    assert run.flops.vision_tower + run.flops.projector == pytest.approx(views, rel=0.005)
    counted = sum(counted_flops(partial(module, *args)) for module, args in arrived)
    assert run.flops.projector == pytest.approx(counted, rel=0.005)


def _mergers(model) -> list[torch.nn.Module]:
    """What lies between tower and decoder."""
    if hasattr(model.model, "visual"):
        return [model.model.visual.merger, *getattr(model.model.visual, "deepstack_merger_list", [])]
    return [getattr(model.model, "connector", None) or model.model.multi_modal_projector]


def check_command_line(folder: Path, tmp_path: Path, capsys, question: str) -> None:
    """calibrate, fit, evaluate and compare on two pictures, which agree about what becomes of their shapes."""
    for seed, size in enumerate([(50, 30), (24, 24)]):
        random_picture(*size, seed=seed).save(tmp_path / f"{seed}.png")
    lines = [{"id": str(at), "image": f"{at}.png", "question": "What?", "answer": "x"} for at in range(2)]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, lines)))
    store = tmp_path / "recipes" / folder.name / "statistics.npz"
    model, samples = ["--model", str(folder), "--device", "cpu"], ["--samples", str(tmp_path / "s.jsonl")]
    recipes = ["--recipes", str(tmp_path / "recipes"), "--max-new-tokens", "2", "--reduction", "0.3"]
    assert main(["calibrate", *model, *samples, "--out", str(store)]) == 0
    recipe = tmp_path / "r.json"
    assert main(["fit", "--statistics", str(store), "--reduction", "0.3", "--out", str(recipe)]) == 0
    assert main(["evaluate", *model, *samples, *recipes, "--out", str(tmp_path / "r.csv")]) == 0
    assert len((tmp_path / "r.csv").read_text().splitlines()) > 1
    capsys.readouterr()
    asking = ["--image", str(tmp_path / "0.png"), "--question", question, "--json"]
    assert main(["compare", *model, *asking, *recipes]) == 0
    entries = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert entries["aspect"] == json.loads(recipe.read_text())["image_aspect"] and entries["warnings"] == []
    assert entries["achieved_reduction"] == pytest.approx(0.3, abs=0.03)


def check_batches(folder: Path, tmp_path: Path, sizes) -> None:
    """Four at once answer as one at a time. sizes: of the pictures, some of which have as many visual tokens."""
    for seed, size in enumerate(sizes):
        random_picture(*size, seed=seed).save(tmp_path / f"{seed}.png")
    lines = [
        {"id": str(at), "image": f"{at}.png", "question": "What?" + " Why?" * at, "answer": "x"}
        for at in range(len(sizes))
    ]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, lines)))
    store = tmp_path / "recipes" / folder.name / "statistics.npz"
    model, samples = ["--model", str(folder), "--device", "cpu"], ["--samples", str(tmp_path / "s.jsonl")]
    recipes = ["--recipes", str(tmp_path / "recipes"), "--max-new-tokens", "3", "--reduction", "0.5"]
    assert main(["calibrate", *model, *samples, "--out", str(store)]) == 0
    tables = []
    for size in ("1", "4"):
        out = tmp_path / f"r{size}.csv"
        assert main(["evaluate", *model, *samples, *recipes, "--batch-size", size, "--out", str(out)]) == 0
        tables.append(out.read_text())
    assert tables[0] == tables[1]
