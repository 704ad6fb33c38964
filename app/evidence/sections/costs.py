"""7. FLOPs, memory and time against the budget."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from statistics import mean, median
from typing import Any

import torch

from app.evidence.bench import Bench, Variant, read_rows, variant
from app.evidence.figures import curves, panels
from app.evidence.fingerprints import digest_of, method_digest, room_digest
from app.evidence.numbers import Estimate, mean_of
from app.evidence.plan import KEY_BUDGET
from app.evidence.questions import CALIBRATION, TEST
from app.evidence.section import Section, Table
from app.evidence.ways import PLUS
from app.evidence.words import NOTHING, budget, estimate_cell, listed, percent, sentence
from fitprune_core import describe_device
from fitprune_core.checks.files import write_whole
from fitprune_core.models.exclusive import exclusive_use
from fitprune_core.run.answer import UNPRUNED, Way, answer
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.timing import Clock, Side, paired_rounds

TITLE = "FLOPs, memory and time against the budget"
QUESTION = "How much of a budget arrives: in a whole request's FLOPs, in the cache, in the time to the first token?"
METHODS = ("fitprune", "fitprune+", "divprune", "random")
WARMUP = 2
BUSY = "busy machine"
# What the benchmark of a 7B model writes, and where a report looks for it.
WHOLE_REQUEST = "7-whole-request.csv"
WHOLE_REQUEST_COMMAND = "python -m tests.benchmarks --only whole-request"
COLUMNS = (
    "id",
    "method",
    "budget",
    "round",
    "visual_flops",
    "prefill_flops",
    "total_flops",
    "kv_cache_bytes",
    "prefill_ms",
)
# What is saved, by its column.
SAVINGS = {
    "visual FLOPs": "visual_flops",
    "prefill FLOPs": "prefill_flops",
    "whole request": "total_flops",
    "KV cache": "kv_cache_bytes",
    "prefill time": "prefill_ms",
}


def run(bench: Bench) -> Section:
    """Count and time a few questions, the original and every budget in turns."""
    budgets = sorted({*bench.plan.budgets, *bench.plan.curve_budgets})
    recipes = bench.recipes(bench.statistics(bench.sets[CALIBRATION]), budgets)
    variants = [variant(method, recipe) for recipe in recipes for method in METHODS]
    refused = {each: why for each in variants if (why := bench.misfit(each))}
    variants = [each for each in variants if each not in refused]
    found = bench.once(partial(_remembered, bench, variants))
    path = bench.write("7-costs", COLUMNS, found["rows"])
    section = Section(TITLE, QUESTION, raw=[path])
    rows = list(read_rows(path))
    savings = savings_of(rows)
    between = {
        each.reduction: time_between(rows, PLUS, "fitprune", each.reduction) for each in variants if each.name == PLUS
    }
    section.tables = [_table(savings, between, len({row["id"] for row in rows}))]
    section.figures["7-costs"] = _figure(savings)
    section.answer = answer_of(savings, is_busy=BUSY in found["machine"], plus=between.get(KEY_BUDGET))
    section.counted = "FLOPs, 2 per multiply-add, scoring included"
    section.measured = "the bytes of the cache" + (
        f", and times of {bench.plan.timed_questions} questions: {found['machine']}" if bench.plan.timed_rounds else ""
    )
    section.notes = [f"{each.name} at {budget(each.reduction)} was left out: {why}." for each, why in refused.items()]
    if not bench.plan.timed_rounds:
        section.notes.append("No time was taken: this run only checks the pipeline.")
    whole = bench.out / "raw" / WHOLE_REQUEST
    if whole.is_file():
        section.tables.append(whole_request_table(list(read_rows(whole))))
        section.raw.append(whole)
    else:
        section.notes.append(f"No whole request to a 7B model was timed here: `{WHOLE_REQUEST_COMMAND}` does it.")
    return section


def whole_request_table(rows: Sequence[Mapping[str, str]]) -> Table:
    """What one request to a 7B model takes; rows as the benchmark writes them, a round and way each."""
    by_way = {way: [row for row in rows if row["way"] == way] for way in ("original", "pruned")}
    cells = []
    for label, columns, flops in (
        ("to the first token", ("prefill_ms",), "prefill_flops"),
        (f"all {rows[0]['new_tokens']} tokens", ("prefill_ms", "decode_ms"), "total_flops"),
    ):
        times = {
            way: median(sum(float(row[column]) for column in columns) / 1e3 for row in of_way)
            for way, of_way in by_way.items()
        }
        counted = {way: float(of_way[0][flops]) / 1e12 for way, of_way in by_way.items()}
        saved, promised = (1 - each["pruned"] / each["original"] for each in (times, counted))
        both = [f"{times[way]:.1f} s, {counted[way]:.2f} TFLOPs" for way in by_way]
        cells.append([label, *both, percent(saved), percent(promised), f"{saved / promised:.2f}"])
    about = (
        "A request to a LLaVA-1.5-7B of full size with 576 visual tokens, whose 32 layers share the random weights of "
        f"two, original and by the authors' 60 % recipe: medians of {len(by_way['original'])} rounds in turns "
        f"({rows[0]['machine']}) From `{WHOLE_REQUEST_COMMAND}`. Decoding reads all weights for each token, pruned "
        "or not."
    )
    header = ["LLaVA-1.5-7B on a CPU", "original", "pruned", "time saved", "FLOPs saved", "of the ideal"]
    return Table(header, cells, about)


def savings_of(rows: Sequence[Mapping[str, str]]) -> dict[tuple[str, float], dict[str, Estimate]]:
    """By method and budget: the share saved of each cost, mean and interval; rows as in the raw table.

    What is saved is taken question by question, for times the mean of its rounds: the original of the same round is the
    whole, and rounds of one question are not independent of each other.
    """
    return {
        key: {name: mean_of(list(by_question.values())) for name, by_question in saved.items()}
        for key, saved in _by_question(rows).items()
    }


def time_between(rows: Sequence[Mapping[str, str]], one: str, other: str, at: float) -> Estimate | None:
    """How much more of the original's time one method saves than another, over the same questions; None without
    times."""
    saved = _by_question(rows)
    mine, theirs = (saved.get((name, at), {}).get("prefill time", {}) for name in (one, other))
    common = [mine[question] - theirs[question] for question in mine if question in theirs]
    return mean_of(common) if common else None


def _by_question(rows: Sequence[Mapping[str, str]]) -> dict[tuple[str, float], dict[str, dict[str, float]]]:
    """By method and budget, by cost, by question: the share saved, of times the mean over the rounds."""
    whole = {(row["id"], row["round"]): row for row in rows if row["method"] == "original"}
    found: dict[tuple[str, float], dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        if row["method"] == "original":
            continue
        saved = found.setdefault((row["method"], float(row["budget"])), {})
        for name, column in SAVINGS.items():
            if row[column] and (row["round"] == "0" or column == "prefill_ms"):
                full = float(whole[row["id"], row["round"]][column])
                saved.setdefault(name, {}).setdefault(row["id"], []).append(1 - float(row[column]) / full)
    return {
        key: {name: {question: mean(of_one) for question, of_one in each.items()} for name, each in saved.items()}
        for key, saved in found.items()
    }


def answer_of(
    savings: Mapping[tuple[str, float], Mapping[str, Estimate]],
    at: float = KEY_BUDGET,
    *,
    is_busy: bool = False,
    plus: Estimate | None = None,
) -> str:
    """The sentence: what of a budget arrives where, and how much of the ideal the time is.

    is_busy: whether others had the machine as well. plus: how much more time fitprune+ saves, as `time_between` finds.
    """
    mine = savings["fitprune", at]
    words = (
        f"of {budget(at)} of the visual FLOPs, fitprune saves {percent(mine['prefill FLOPs'].value)} of the prefill's, "
        f"{percent(mine['whole request'].value)} of the whole request's and {percent(mine['KV cache'].value)} of "
        "the cache"
    )
    if (time := mine.get("prefill time")) is None:
        return sentence(f"{words}; no time was taken")
    ideal = mine["prefill FLOPs"].value
    if time.low <= 0.0 <= time.high:
        return sentence(f"{words}; in the time to the first token there is no difference beyond chance")
    change = "saves" if time.value > 0 else "costs"
    where = ", on a busy machine," if is_busy else ""
    ends = sorted(100 * abs(each) for each in (time.low, time.high))
    interval = f"({ends[0]:.1f} to {ends[1]:.1f})"
    words += f"; it {change}{where} {percent(abs(time.value))} of the time to the first token {interval}"
    words += f", {time.value / ideal:.2f} of what its FLOPs promise"
    if plus is not None:
        points = [100 * each for each in (plus.value, plus.low, plus.high)]
        shown = not plus.low <= 0.0 <= plus.high
        how = ("more" if plus.value > 0 else "less") if shown else "neither more nor less, beyond chance"
        words += f"; {PLUS} saves {how} of that time ({points[0]:+.1f} points, from {points[1]:.1f} to {points[2]:.1f})"
    return sentence(words)


def _remembered(bench: Bench, variants: Sequence[Variant]) -> dict[str, Any]:
    """The rows and the machine they are from, measured now unless this machine did so before."""
    plan = bench.plan
    device = f"{describe_device(bench.model)}, {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    what = [(each.method.label, each.recipe.removed, each.reduction, method_digest(each.method)) for each in variants]
    code = room_digest("run", "cost")
    key = digest_of(device, what, bench.sets[TEST].digest, plan.timed_questions, plan.timed_rounds, code)
    path = bench.folder / "costs" / f"{key}.json"
    if not path.is_file():
        # What these processes did in the minute before is load, too.
        load, own = os.getloadavg()[0], bench.processes.count
        busy = f" ({BUSY}: alone on it all would take less)" if load - own > 0.5 * (os.cpu_count() or 1) else ""
        rows = [row for number in range(plan.timed_questions) for row in _measured(bench, variants, number)]
        machine = (
            f"{device}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load {load:.1f} at the start, with that of its own "
            f"work before{busy}; "
            f"{plan.timed_rounds} rounds of each question, the original and all others in turns, after "
            f"{WARMUP} that warm up"
        )
        write_whole(path, json.dumps({"machine": machine, "rows": rows}))
    return json.loads(path.read_text(encoding="utf-8"))


def _measured(bench: Bench, variants: Sequence[Variant], number: int) -> list[dict[str, Any]]:
    """The rows of one question."""
    model, rounds = bench.model, bench.plan.timed_rounds
    questions = bench.sets[TEST]
    spread = number * questions.count // bench.plan.timed_questions  # they stand in the order of their answers' length
    sample, prompt = next(islice(bench.prompts(questions), spread, None))
    ways = {("original", 0.0): UNPRUNED, **{(v.name, v.reduction): Way(v.recipe, v.method) for v in variants}}
    decoding = Decoding(bench.plan.max_new_tokens)
    answers = {key: answer(model, bench.processor, [prompt], way, decoding)[0] for key, way in ways.items()}
    rows = []
    for (method, reduction), given in answers.items():
        cost = given.cost.request
        rows.append({
            "id": sample.id, "method": method, "budget": reduction, "round": 0, "visual_flops": given.cost.visual,
            "prefill_flops": cost.total - cost.decode, "total_flops": cost.total,
            "kv_cache_bytes": given.kv_cache_bytes, "prefill_ms": "",
        })  # fmt: skip
    if not rounds:
        return rows
    # One token: what is timed is the way to the first.
    sides = [Side(partial(way.applied_to, model), answers[key].token_ids[:1]) for key, way in ways.items()]
    with exclusive_use(model), torch.no_grad():
        times = paired_rounds(model, prompt.to(model.device), sides, Clock(model.device), warmup=WARMUP, repeats=rounds)
    for at, of_round in enumerate(times, 1):
        rows += [{"id": sample.id, "method": key[0], "budget": key[1], "round": at, "prefill_ms": each.prefill_ms}
                 for key, each in zip(ways, of_round, strict=True)]  # fmt: skip
    return rows


def _table(
    savings: Mapping[tuple[str, float], Mapping[str, Estimate]],
    between: Mapping[float, Estimate | None],
    questions: int,
) -> Table:
    rows = []
    for (method, reduction), mine in savings.items():
        time = mine.get("prefill time")
        ideal = NOTHING if time is None else f"{time.value / mine['prefill FLOPs'].value:.2f}"
        cells = [estimate_cell(mine.get(name), 1, 100) for name in SAVINGS]
        rows.append([f"{method} {budget(reduction)}", *cells, ideal])
    about = (
        f"Percent saved against the original, mean over {questions} questions with a t interval, of times each "
        "question's mean over its rounds. The prefill has the vision tower, the projector and scoring in it; the "
        "whole request decoding as well, which depends on the answer. Of the ideal: time saved by FLOPs saved, of the "
        "prefill."
    )
    if apart := [f"{budget(at)}: {estimate_cell(found, 1, 100)}" for at, found in between.items() if found is not None]:
        about += f" Points of the time that {PLUS} saves more than fitprune, on the same questions: {listed(apart)}."
    return Table(["budget", *SAVINGS, "of the ideal"], rows, about)


def _figure(savings: Mapping[tuple[str, float], Mapping[str, Estimate]]):
    figure, (axes,) = panels(["What a budget saves (fitprune)"])
    mine = {reduction: each for (method, reduction), each in savings.items() if method == "fitprune"}
    lines = {
        name: [(100 * reduction, each[name]) for reduction, each in mine.items() if name in each] for name in SAVINGS
    }
    curves(axes, lines)
    axes.set_xlabel("visual FLOPs to save, %")
    axes.set_ylabel("saved, %")
    return figure
