"""A whole request to LLaVA-1.5-7B on a CPU, original and pruned by the authors' 60 % recipe: time beside its FLOPs."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from statistics import median

import torch

from fitprune_core import RECIPES, prune_visual_tokens, request_flops
from fitprune_core.models.devices import describe_device
from fitprune_core.recipes.published import published_recipes
from fitprune_core.run.timing import Clock, Side, Times, paired_rounds
from tests.benchmarks.report import Report, machine
from tests.benchmarks.wide_model import LLAVA, TEXT_AFTER, TEXT_BEFORE, TOWER, whole_llava, wide_inputs

REDUCTION = 0.6
ANSWER = (1, 2, 3, 4, 5)  # what is said does not change what it costs


def run(rounds: int = 2, **widths: int) -> Report:
    """Time `rounds` paired requests after one that warms up; a round takes some minutes. widths: for a trial."""
    where = machine()
    model = whole_llava(**widths)
    inputs = wide_inputs(LLAVA, model.config.image_token_id, TOWER["patch_size"])
    (recipe,) = [one for one in published_recipes(LLAVA.recipes, RECIPES) if one.reduction == REDUCTION]
    sides = [Side(nullcontext, ANSWER), Side(partial(prune_visual_tokens, model, recipe), ANSWER)]
    with torch.no_grad():
        times = paired_rounds(model, inputs, sides, Clock(model.device), warmup=1, repeats=rounds)
    removed = [(0,) * recipe.num_layers, recipe.removed]
    text = TEXT_BEFORE + TEXT_AFTER
    counted = partial(request_flops, model.config, num_visual_tokens=LLAVA.num_visual_tokens, num_text_tokens=text)
    flops = [counted(removed=counts, num_text_after=TEXT_AFTER, new_tokens=len(ANSWER)) for counts in removed]
    prefill = [one.total - one.decode for one in flops]
    rows = [("", "original", "pruned", "time saved", "FLOPs saved", "time/FLOPs")]
    rows.append(_row("prefill, tower included", [_ms(times, side, "prefill_ms") for side in (0, 1)], prefill))
    steps = len(ANSWER) - 1
    decode = [_ms(times, side, "decode_ms") / steps for side in (0, 1)]
    rows.append(_row("per token", decode, [one.decode // steps for one in flops]))
    whole = [median(one[side].prefill_ms + one[side].decode_ms for one in times) for side in (0, 1)]
    rows.append(_row(f"end to end, {len(ANSWER)} tokens", whole, [one.total for one in flops]))
    about = f"{LLAVA.num_visual_tokens} visual and {text} text tokens, {describe_device(model)}"
    notes = [
        f"All {recipe.num_layers} layers at full width share the random weights of two, read anew by each. "
        f"{about}. Medians of {len(times)} rounds in turns after one that warmed up, from {_spread(times, 0)} and "
        f"{_spread(times, 1)} end to end. FLOPs are counted, 2 per multiply-add, with scoring.",
    ]
    saved = 1 - prefill[1] / prefill[0], 1 - _ms(times, 1, "prefill_ms") / _ms(times, 0, "prefill_ms")
    raw = [
        {"round": number, "way": way, "prefill_ms": one[side].prefill_ms, "decode_ms": one[side].decode_ms,
         "new_tokens": len(ANSWER), "prefill_flops": prefill[side], "total_flops": flops[side].total,
         "machine": where}
        for number, one in enumerate(times, 1)
        for side, way in enumerate(("original", "pruned"))
    ]  # fmt: skip
    title, drawn = "A whole request to LLaVA-1.5-7B", {"LLaVA-1.5-7B,\nwhole": saved}
    return Report(title, [rows], notes, drawn, raw={"whole-request.csv": raw})


def _ms(times: list[list[Times]], side: int, part: str) -> float:
    return median(getattr(one[side], part) for one in times)


def _row(label: str, milliseconds: list[float], flops: list[int]) -> tuple[str, ...]:
    saved, promised = 1 - milliseconds[1] / milliseconds[0], 1 - flops[1] / flops[0]
    seconds = [f"{ms / 1e3:.2f} s, {count / 1e12:.2f} T" for ms, count in zip(milliseconds, flops, strict=True)]
    return label, *seconds, f"{saved:.1%}", f"{promised:.1%}", f"{saved / promised:.2f}"


def _spread(times: list[list[Times]], side: int) -> str:
    whole = [(one[side].prefill_ms + one[side].decode_ms) / 1e3 for one in times]
    return f"{min(whole):.1f} to {max(whole):.1f} s"
