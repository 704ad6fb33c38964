"""What holds for every family, on a tiny checkpoint: exact pruning, counted FLOPs, the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fitprune_core import build_inputs, collect_statistics, compare, fit_recipe, prune_visual_tokens
from fitprune_core.cli.main import main
from tests.flop_counting import counted_flops
from tests.pruned import recipe_of
from tests.reference import masked_logits
from tests.tiny import random_picture


def asked(processor, size=(50, 30), question="What is it?", seed=0):
    return build_inputs(processor, random_picture(*size, seed=seed), question)


def visual(model, inputs) -> torch.Tensor:
    return inputs["input_ids"][0] == model.config.image_token_id


def dropping(count: int):
    """A recipe that drops at three layers of four, about three quarters in all."""
    return recipe_of((count // 4, 0, count // 3, count // 6), count)


@torch.no_grad()
def check_equal_to_a_masked_model(model, inputs, method: str = "fitprune") -> None:
    """Prefill and five steps of `generate`, and the model afterwards."""
    count = int(visual(model, inputs).sum())
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "output_logits": True}
    options |= {"return_dict_in_generate": True, "suppress_tokens": [model.config.image_token_id]}
    plain = model(**inputs).logits
    with prune_visual_tokens(model, dropping(count), method=method) as trace:
        output = model.generate(**inputs, **options)
    kept = list(trace.kept)
    assert len(kept[-1]) < count
    new = output.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    for step, logits in enumerate(output.logits):
        expected = masked_logits(model, inputs, kept, new[:step], trace.kept_before)[:, -1]
        assert (logits - expected).abs().max() < 1e-4
    assert (output.logits[0] - plain[:, -1]).abs().max() > 1e-3
    assert torch.equal(model(**inputs).logits, plain)


@torch.no_grad()
def check_text_stays(model, inputs) -> None:
    """Every position of text has the masked model's logits, wherever it stands, with a single visual token left."""
    is_visual = visual(model, inputs)
    count = int(is_visual.sum())
    with prune_visual_tokens(model, recipe_of((count - 9, 0, 5, 3), count)) as trace:
        logits = model(**inputs, use_cache=False).logits[0]
    assert len(trace.kept[-1]) == 1 and logits.shape[0] == 1 + int((~is_visual).sum())
    expected = masked_logits(model, inputs, trace.kept)[0]
    positions = trace.positions
    is_text = ~is_visual[positions]
    assert is_text.sum() == (~is_visual).sum()
    assert (logits[is_text] - expected[positions][is_text]).abs().max() < 1e-4


def check_flops(model, processor, size: tuple[int, int]) -> None:
    """Of a whole request, of tower and merger, and of the merger alone, as torch counts them."""
    picture, inputs = random_picture(*size), asked(processor, size)
    recipe = fit_recipe(collect_statistics(model, processor, [(picture, "What is it?")]), 0.0)
    run = compare(model, processor, picture, "What is it?", recipe, max_new_tokens=3, repeats=0).original
    options = {"max_new_tokens": run.new_tokens, "min_new_tokens": run.new_tokens, "do_sample": False}
    assert run.flops.total == pytest.approx(counted_flops(lambda: model.generate(**inputs, **options)), rel=0.005)
    pixels = {name: inputs[name] for name in ("pixel_values", "pixel_attention_mask", "image_sizes") if name in inputs}
    merger = getattr(model.model, "connector", None) or model.model.multi_modal_projector
    arrived = []
    hook = merger.register_forward_pre_hook(lambda module, args: arrived.append(args))
    views = counted_flops(lambda: model.get_image_features(**pixels, return_dict=True))
    hook.remove()
    assert run.flops.vision_tower + run.flops.projector == pytest.approx(views, rel=0.005)
    counted = sum(counted_flops(lambda args=args: merger(*args)) for args in arrived)
    assert run.flops.projector == pytest.approx(counted, rel=0.005)


def check_command_line(folder: Path, tmp_path: Path, capsys, question: str, aspect: str) -> None:
    """calibrate, fit, evaluate and compare on three pictures. aspect: as the recipe and `compare --json` say it."""
    for seed, size in enumerate([(50, 30), (30, 50), (24, 24)]):
        random_picture(*size, seed=seed).save(tmp_path / f"{seed}.png")
    lines = [{"id": str(at), "image": f"{at}.png", "question": "What?", "answer": "x"} for at in range(3)]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, lines)))
    store = tmp_path / "recipes" / folder.name / "statistics.npz"
    model, samples = ["--model", str(folder), "--device", "cpu"], ["--samples", str(tmp_path / "s.jsonl")]
    recipes = ["--recipes", str(tmp_path / "recipes"), "--max-new-tokens", "2", "--reduction", "0.5"]
    assert main(["calibrate", *model, *samples, "--out", str(store)]) == 0
    recipe = tmp_path / "r.json"
    assert main(["fit", "--statistics", str(store), "--reduction", "0.5", "--out", str(recipe)]) == 0
    assert json.loads(recipe.read_text())["image_aspect"] == aspect
    assert main(["evaluate", *model, *samples, *recipes, "--out", str(tmp_path / "r.csv")]) == 0
    assert len((tmp_path / "r.csv").read_text().splitlines()) > 1
    capsys.readouterr()
    asking = ["--image", str(tmp_path / "0.png"), "--question", question, "--json"]
    assert main(["compare", *model, *asking, *recipes]) == 0
    entries = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert entries["aspect"] == aspect and entries["warnings"] == []
    assert entries["achieved_reduction"] == pytest.approx(0.5, abs=0.03)


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
