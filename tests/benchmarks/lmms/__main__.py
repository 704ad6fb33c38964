"""Run the local task through lmms-eval: `python -m tests.benchmarks.lmms [--count N] [--reduction R ...]`.

Draws scenes with questions, has mini-llava answer them through `lmms_eval --model fitprune_llava` at each budget,
without a network, and prints what lmms-eval reports. Then the library's own `evaluate` answers the same questions: the
answers must be equal one by one, and so must accuracy and FLOPs.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from app.demo_model.samples import write_samples
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.evaluation.evaluation import evaluate
from fitprune_core.evaluation.table import Score
from fitprune_core.lmms_eval_plugin import MODEL_NAME
from fitprune_core.models.loading import MINI_LLAVA, load_model
from fitprune_core.recipes.store import recipe_source

ROOT = Path(__file__).resolve().parents[3]
# Below the root, where lmms-eval runs, since the task names its data that way.
BENCHMARKS = Path("tests") / "benchmarks"
TASK = "mini_scenes"
RESULTS = ROOT / BENCHMARKS / "results" / "lmms"
SEED = 11  # recipes were fitted on seed 0
MAX_NEW_TOKENS = 64  # as in the task


@dataclass(frozen=True)
class Outcome:
    """What lmms-eval reports of one budget; `answers` in the order of the samples."""

    reduction: float
    accuracy: float
    achieved_reduction: float
    visual_gflops: float
    total_gflops: float
    answers: list[str]


def main() -> int:
    """Print the table; returns 1 if the library answers otherwise than the plugin."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.lmms", description="mini-llava in lmms-eval.")
    parser.add_argument("--count", type=int, default=200, metavar="N", help="questions [%(default)s]")
    parser.add_argument("--reduction", type=float, nargs="+", default=[0.0, 0.6], metavar="R", help="budgets [0 0.6]")
    options = parser.parse_args()
    if options.count < 1:
        parser.error(f"--count is {options.count}; at least 1 is needed")
    # What an earlier run left would be taken for this one's.
    shutil.rmtree(RESULTS, ignore_errors=True)
    samples = write_samples(RESULTS / "scenes", options.count, SEED, worlds=("plain",))
    outcomes = [run_lmms_eval(reduction) for reduction in options.reduction]
    print(table(outcomes, options.count), flush=True)
    return check_against_library(outcomes, samples)


def run_lmms_eval(reduction: float) -> Outcome:
    """The command that a researcher would type, at one budget."""
    out = RESULTS / f"{reduction:g}"
    command = [
        *(sys.executable, "-m", "lmms_eval", "--model", MODEL_NAME),
        *("--model_args", f"pretrained={MINI_LLAVA},reduction={reduction:g},device=cpu,dtype=float32"),
        *("--include_path", str(BENCHMARKS / "lmms" / "tasks"), "--tasks", TASK),
        *("--output_path", str(out.relative_to(ROOT)), "--log_samples"),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(RESULTS / "huggingface")}
    print("$ python", " ".join(command[1:]), flush=True)
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    # lmms-eval ends with status 0 after an error too; then it has written no results.
    report = json.loads(_only(out, "*_results.json").read_text(encoding="utf-8"))
    lines = _only(out, f"*_samples_{TASK}.jsonl").read_text(encoding="utf-8").splitlines()
    logged = sorted((json.loads(line) for line in lines), key=lambda sample: sample["doc_id"])
    throughput = report["throughput"]
    return Outcome(
        reduction,
        report["results"][TASK]["accuracy,none"],
        *(throughput[f"avg_{name}_{TASK}"] for name in ("visual_reduction", "visual_gflops", "total_gflops")),
        answers=[sample["filtered_resps"] for sample in logged],
    )


def table(outcomes: list[Outcome], count: int) -> str:
    """Accuracy and FLOPs of each budget, as Markdown."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("lmms_eval", "torch", "transformers"))
    lines = [
        f"\n{MINI_LLAVA}, {count} questions about held-out scenes, by {packages}\n",
        "| visual FLOPs to save | saved | accuracy | visual GFLOPs | total GFLOPs |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.reduction:.0%} | {each.achieved_reduction:.2%} | {each.accuracy:.1%} | {each.visual_gflops:.4f} "
        f"| {each.total_gflops:.4f} |"
        for each in outcomes
    ]
    return "\n".join(lines)


def check_against_library(outcomes: list[Outcome], samples: Path) -> int:
    """Answer the same questions with `evaluate`, and print what differs."""
    model, processor = load_model(MINI_LLAVA, device="cpu", dtype="float32")
    recipe_for = recipe_source(MINI_LLAVA, DecoderGeometry.from_config(model.config))
    sheet, budgets = RESULTS / "library.csv", [outcome.reduction for outcome in outcomes]
    scores = evaluate(model, processor, samples, budgets, recipe_for, sheet, max_new_tokens=MAX_NEW_TOKENS)
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    failed = 0
    for outcome in outcomes:
        theirs = [row["answer"] for row in rows if float(row["reduction"]) == outcome.reduction]
        ours = [" ".join(answer.split()) for answer in outcome.answers]
        equal = sum(one == other for one, other in zip(ours, theirs, strict=True))
        (score,) = [score for score in scores if score.reduction == outcome.reduction]
        figures = _equal_figures(outcome, score)
        print(
            f"{outcome.reduction:.0%}: {equal} of {len(ours)} answers are the library's own; figures equal: {figures}"
        )
        failed |= equal < len(ours) or not figures
    return int(failed)


def _equal_figures(outcome: Outcome, score: Score) -> bool:
    names = ("accuracy", "achieved_reduction", "visual_gflops", "total_gflops")
    return all(math.isclose(getattr(outcome, name), getattr(score, name), rel_tol=1e-9) for name in names)


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.rglob(pattern))
    if len(found) != 1:
        raise RuntimeError(f"{folder} holds {len(found)} files {pattern}, not 1; lmms-eval's messages above say why")
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
