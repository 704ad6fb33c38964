"""All sections as one Markdown report, with figures and raw rows beside it."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from app.evidence import elsewhere, figures
from app.evidence.bench import Bench
from app.evidence.plan import CALIBRATION_SEED, CHOICE_SEED, FURTHER_CALIBRATION_SEEDS, KEY_BUDGET, TEST_SEED
from app.evidence.questions import CALIBRATION, CHOICE, EASY_VQA, FEW, TEST
from app.evidence.section import Section, left_out
from app.evidence.sections import (
    asked_again,
    calibration,
    combination,
    costs,
    direction,
    flips,
    layers,
    methods,
    options,
    other_models,
    schedules,
    transfer,
    two_fits,
)
from app.evidence.words import listed
from fitprune_core import describe_device, fit_recipe
from fitprune_core.checks.files import write_whole
from fitprune_core.evaluation.significance import CONFIDENCE, SIGNIFICANT

logger = logging.getLogger(__name__)

# In the report's order; those that draw samples of their own need the demonstration world.
SECTIONS = (
    methods,
    schedules,
    layers,
    calibration,
    transfer,
    flips,
    costs,
    two_fits,
    direction,
    combination,
    other_models,
    options,
    asked_again,
)
NEED_WORLD = (calibration, transfer)
REPORT = "report.md"


def make(bench: Bench) -> Path:
    """Ask everything; write `report.md`, figures and raw rows into the bench's folder. Returns the report.

    Raises ValueError for a model that cannot save `KEY_BUDGET` at all.
    """
    fit_recipe(bench.statistics(bench.sets[CALIBRATION]), KEY_BUDGET)
    found = []
    for number, module in enumerate(SECTIONS, 1):
        if bench.processes.is_main:
            logger.info("%d of %d: %s", number, len(SECTIONS), module.TITLE)
        if module in NEED_WORLD and not bench.has_world:
            found.append(left_out(module.TITLE, module.QUESTION, "it needs samples from the drawn world"))
        else:
            found.append(module.run(bench))
    path = bench.out / REPORT
    bench.once(partial(_write, bench, found, path))
    return path


def _write(bench: Bench, sections: Sequence[Section], path: Path) -> None:
    for section in sections:
        figures.save(section.figures, bench.out)
    numbered = [section.markdown(number, bench.out) for number, section in enumerate(sections, 1)]
    text = "\n".join([_head(bench, sections), *numbered, elsewhere.markdown(len(sections) + 1)])
    write_whole(path, text)


def _head(bench: Bench, sections: Sequence[Section]) -> str:
    conditions, plan = bench.conditions, bench.plan
    parts = ["# Evidence"]
    if plan.is_check:
        parts.append(
            "> **This is a check of the pipeline, made with `--quick`. It asks so few questions that its numbers and "
            "answers mean nothing.**"
        )
    parts.append(
        f"{conditions['model']}, weights {conditions['weights']}, {conditions['dtype']}, pictures by "
        f"{conditions['image_aspect']}, {describe_device(bench.model)}, torch {conditions['torch']}, transformers "
        f"{conditions['transformers']}. Greedy answers of up to {plan.max_new_tokens} tokens. FLOPs and distances are "
        "counted, answers, attention and times measured, what others say quoted; every section says which. Negative "
        "results stay."
    )
    parts.append("## The answers")
    parts.append("\n".join(_answer(number, section) for number, section in enumerate(sections, 1)))
    parts.append("## What was asked, and how it is told")
    parts.append(_seeds(bench))
    parts.append(
        f"Shares have {CONFIDENCE:.0%} intervals (Wilson). Ways to answer are compared on the same questions. A test's "
        f"cell has the difference in points with its {CONFIDENCE:.0%} interval (of pairs, by Agresti and Min; nothing "
        "corrects it), the questions that one way alone got right (+) and that the other alone did (−), and the p of "
        "McNemar's exact test, all tests of a table corrected together (Holm), so that one pair may have another p "
        f"in another table. Better and worse mean p ≤ {SIGNIFICANT:g}. Where several questions are about one "
        "picture, intervals and tests are by picture."
    )
    return "\n\n".join(parts) + "\n"


def _answer(number: int, section: Section) -> str:
    """A line of the list of answers, which leads to its section by the anchor that Markdown gives a heading."""
    words = re.sub(r"[^\w\- ]", "", section.heading(number).lower())
    return f"{number}. [{section.title}](#{words.replace(' ', '-')}): {section.answer}"


def _seeds(bench: Bench) -> str:
    lines = [f"- {_USES[name]}: {questions.origin}." for name, questions in bench.sets.items()]
    if bench.has_world:
        further = listed([str(seed) for seed in FURTHER_CALIBRATION_SEEDS])
        lines.append(f"- Further sets to calibrate on, where their number is the question: seeds {further}.")
        lines.append(
            f"- Seeds {CALIBRATION_SEED} (calibration), {CHOICE_SEED} (choice) and {TEST_SEED} (test) draw different "
            "scenes, and training draws none of them. Samples of single worlds have the same seeds."
        )
        lines.append(
            f"- The questions of seed {TEST_SEED} are asked for this report alone. The weights of the model, the fit's "
            "rule of gathering and fitprune+ were settled before, while answers to other questions of this world were "
            "looked at (seeds 20, 30, 31, 77 and 78)."
        )
        lines.append(
            "- The model was made so that it matters which tokens go, and among its weights those were kept that keep "
            "more answers right when FitPrune prunes them: from an earlier version FitPrune rose by 5 to 6 points at "
            "60 and 80 %, random by none (app/demo_model/README.md). What is said here holds of these weights; it is "
            "no evidence that the methods rank so in other models."
        )
    lines.append(
        "- Inside the report nothing is chosen by an answer to a test question: options, budgets and margins are "
        "chosen on the questions to choose by."
    )
    return "\n".join(lines)


_USES: dict[str, str] = {
    CALIBRATION: "Recipes are fitted on",
    CHOICE: "Choices are looked at on",
    TEST: "Methods are compared on",
    FEW: "Further comparisons on",
    EASY_VQA: "And on",
}
