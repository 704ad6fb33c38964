"""Accuracy of mini-llava by kind of question, original and pruned: `python -m app.demo_model.evaluate`.

Greedy answers as `fitprune_core evaluate` gives and compares them, on plain and crowded scenes from seeds
that training never drew, on easy-VQA's test split (needs the package `easy-vqa`), on questions off its topic that share
no template with the training ones, and on pictures that show nothing of its world. Prints a Markdown table for every
method, one column a reduction, and how far the survivors of two reading questions about one picture overlap.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

import fitprune_core as fp
from app.demo_model.crowded import WORLDS, crowded_scene
from app.demo_model.easy_vqa import spread_questions
from app.demo_model.foreign import foreign_picture
from app.demo_model.questions import KINDS, READING, UNKNOWN_ANSWER, Question, ask
from app.demo_model.samples import Item, write_items
from app.demo_model.scenes import Scene, random_scene
from fitprune_core.evaluation.outcomes import Outcomes, Side, read_results
from fitprune_core.evaluation.table import ORIGINAL

TEST_SEED = 2_000_000_000
EASY_VQA = "easy-VQA test"
UNSEEN = "unknown, unseen wording"
FOREIGN = "unknown, picture of nothing"
ALL, ALL_READING = "all kinds", "all reading"
_COMPARED = {"describe": "describe", ALL: "all kinds", ALL_READING: "reading"}
OVERLAP_REDUCTION = 0.8
LONGEST_ANSWER, BATCH = 96, 16
UNSEEN_QUESTIONS = """Who was the first person on Mars?|Does the puppy look hungry to you?|Could you book me a flight?
What would your mother say about this?|Is my homework correct?|How would you rate this on a scale of ten?
What is the boiling point of water?|Which team won the championship?|Are the children playing outside?
Where should we go for dinner?|Please recommend a good novel|How do plants grow?|Has the train already left?
What kind of dog breed is that?|Can I park here?|What's the wifi password?|Did anybody call for me?
How many legs does the spider have?|Is the lady wearing earrings?|What is the patient's diagnosis?
Which ingredients do I need?|Is this painting by Picasso?|What year was the bridge finished?
Why are they arguing?|Do you think it will snow tomorrow?|How much money is in the wallet?
Give me the GPS coordinates|What is the airspeed of a swallow?|Is this food safe to eat?|Which finger is broken?
Who let the dogs out?|How many people attended the concert?|Are those mountains in Switzerland?
What does the graffiti mean?|Is the traffic light working?|Whose turn is it?|What breed is the horse?
Explain the theory of relativity|What is the baby holding?|How long is the flight?""".replace("\n", "|").split("|")


def scene_items(scenes: int, worlds: Sequence[str] = tuple(WORLDS)) -> Iterator[Item]:
    """One question of every kind about each of `scenes` held-out scenes, of these worlds by turns."""
    for number in range(scenes):
        scene, questions = held_out(number, worlds)
        picture = scene.draw()
        for kind, question in questions:
            yield kind, picture, question.text, question.answer


def held_out(number: int, worlds: Sequence[str] = tuple(WORLDS)) -> tuple[Scene, list[tuple[str, Question]]]:
    """A held-out scene by its number, which nothing draws yet, and one question of every kind about it, by kind."""
    scene, rng = WORLDS[worlds[number % len(worlds)]](TEST_SEED + number), random.Random(f"test-{number}")
    asked = [(kind, ask(kind, scene, rng)) for kind in KINDS]
    return scene, [(kind, question) for kind, question in asked if question is not None]


def unseen_items() -> Iterator[Item]:
    for number, text in enumerate(UNSEEN_QUESTIONS):
        yield UNSEEN, random_scene(TEST_SEED + number).draw(), text, UNKNOWN_ANSWER


def foreign_items(pictures: int) -> Iterator[Item]:
    """A question that fits scenes about each of so many pictures that show nothing."""
    for number in range(pictures):
        rng = random.Random(f"foreign-{number}")
        scene = (crowded_scene if number % 2 else random_scene)(TEST_SEED + number)
        question = None
        while question is None or question.answer == UNKNOWN_ANSWER:
            question = ask(rng.choice(tuple(KINDS)), scene, rng)
        yield FOREIGN, foreign_picture(TEST_SEED + number), question.text, UNKNOWN_ANSWER


def easy_vqa_items(most: int) -> Iterator[Item]:
    """Up to `most` questions of easy-VQA's untouched test split, evenly spread over it."""
    if most == 0:
        return
    for asked in spread_questions(most)[0]:
        yield EASY_VQA, Image.open(asked.picture).convert("RGB"), asked.question, asked.answer


def recipe_for(model, statistics: str | None = None) -> Callable[[float], fp.PruningRecipe]:
    """A function from a reduction to a recipe: from a file of statistics, or as the app gets its recipes.

    Only what it is asked for has to be there: a model without statistics can still be evaluated as it is.
    """

    @cache
    def source() -> Callable[[float], fp.PruningRecipe]:
        if statistics is None:
            return fp.recipe_source(fp.model_name(model), fp.DecoderGeometry.from_config(model.config))
        return partial(fp.fit_recipe, fp.AttentionStatistics.load(statistics))

    return lambda reduction: source()(reduction)


def answered(
    model,
    processor,
    items: Iterable[Item],
    folder: Path,
    reductions: Sequence[float] = (),
    recipes: Callable[[float], fp.PruningRecipe] | None = None,
    methods: Sequence[str] = ("fitprune",),
) -> Outcomes:
    """What the model as it is and each method at each reduction answer; pictures and `results.csv` go to `folder`."""
    samples, out = write_items(folder, "test", items), folder / "results.csv"
    with tqdm(desc="questions") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        fp.evaluate(model, processor, samples, reductions, recipes or recipe_for(model), out, methods=methods,
                    max_new_tokens=LONGEST_ANSWER, batch_size=BATCH, progress=progress)  # fmt: skip
    return read_results(out)


def by_kind(outcomes: Outcomes) -> dict[str, list[int]]:
    """The indices of the questions of each kind, and of all kinds of the drawn world together."""
    found: dict[str, list[int]] = {}
    for index, asked in enumerate(outcomes.questions):
        found.setdefault(asked.kind, []).append(index)
    own = [index for kind, members in found.items() if kind in KINDS for index in members]
    reading = [index for kind, members in found.items() if kind in READING for index in members]
    others = {kind: found.pop(kind) for kind in list(found) if kind not in KINDS}
    return found | {name: members for name, members in ((ALL, own), (ALL_READING, reading)) if members} | others


@torch.no_grad()
def survivors_overlap(model, processor, recipe: fp.PruningRecipe, scenes: int, method: str = "fitprune") -> float:
    """Mean Jaccard overlap of what is left in the last layer for two reading questions about one crowded scene; NaN
    where no scene has two."""
    overlaps = []
    for number in range(scenes):
        scene, rng = crowded_scene(TEST_SEED + number), random.Random(f"overlap-{number}")
        asked = {q.answer: q.text for q in (ask(kind, scene, rng) for kind in READING * 2) if q is not None}
        if len(asked) < 2:
            continue
        kept = []
        for question in list(asked.values())[:2]:
            with fp.prune_visual_tokens(model, recipe, method=method) as trace:
                model(**fp.build_inputs(processor, scene.draw(), question).to(model.device), logits_to_keep=1)
            kept.append(set(trace.kept[-1].tolist()))
        overlaps.append(len(kept[0] & kept[1]) / len(kept[0] | kept[1]))
    return float(np.mean(overlaps)) if overlaps else math.nan


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    model, processor = fp.load_model(args.model)
    items = [
        *scene_items(args.scenes, args.worlds),
        *unseen_items(),
        *foreign_items(args.foreign),
        *easy_vqa_items(args.easy_vqa),
    ]
    recipes = recipe_for(model, args.statistics)
    with contextlib.ExitStack() as stack:
        folder = args.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        outcomes = answered(model, processor, items, folder, args.reductions, recipes, args.methods)
    for method in dict.fromkeys(side.method for side in outcomes.sides[1:]) or (None,):
        print(f"\n{method or ORIGINAL}\n\n{table(outcomes, method)}", flush=True)
    if len({side.method for side in outcomes.sides[1:]}) > 1:
        print(f"\nThe same, by what chooses the tokens\n\n{methods_table(outcomes)}", flush=True)
    if args.overlap and args.reductions:
        overlap = survivors_overlap(model, processor, recipes(OVERLAP_REDUCTION), args.overlap)
        print(f"\nOverlap of the survivors of two reading questions at {OVERLAP_REDUCTION:.0%}: {overlap:.2f}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini-llava")
    parser.add_argument("--scenes", type=int, default=230, help="held-out scenes, about nine questions each")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=tuple(WORLDS), help="kinds of scene, by turns")
    parser.add_argument("--easy-vqa", type=int, default=1000, help="questions of easy-VQA's test split")
    parser.add_argument("--foreign", type=int, default=100, help="pictures that show nothing")
    parser.add_argument(
        "--overlap",
        type=int,
        default=100,
        help="scenes to compare the survivors of two questions on, where there are reductions",
    )
    parser.add_argument(
        "--statistics", help="AttentionStatistics (.npz) to fit recipes from, instead of the model's own"
    )
    parser.add_argument("--methods", nargs="+", default=["fitprune"], help="what ranks the tokens")
    parser.add_argument("--reductions", type=float, nargs="+", default=[], help="beside the original model")
    parser.add_argument("--out", type=Path, help="folder for the pictures and results.csv; goes on where it stopped")
    return parser.parse_args(argv)


def table(outcomes: Outcomes, method: str | None) -> str:
    """Right answers in percent by kind: of the original, and of a method at each of its reductions."""
    sides = _sides_of(outcomes, method)
    lines = _heads(["kind", "questions"], sides)
    for kind, members in by_kind(outcomes).items():
        lines.append(f"| {kind} | {len(members):,} | {_rights(sides, members)} |")
    return "\n".join(lines)


def methods_table(outcomes: Outcomes) -> str:
    """The same for all methods, of all kinds together, of those that read, and of descriptions."""
    methods = list(dict.fromkeys(side.method for side in outcomes.sides[1:]))
    lines = _heads(["", "kept by"], _sides_of(outcomes, methods[0]))
    for kind, members in by_kind(outcomes).items():
        if kind not in _COMPARED:
            continue
        for method in methods:
            about = f"{_COMPARED[kind]}, {len(members):,} questions" if method == methods[0] else ""
            lines.append(f"| {about} | {method} | {_rights(_sides_of(outcomes, method), members)} |")
    return "\n".join(lines)


def _sides_of(outcomes: Outcomes, method: str | None) -> list[Side]:
    """The original, and a method at each of its reductions."""
    return [outcomes.sides[0], *(side for side in outcomes.sides[1:] if side.method == method)]


def _heads(first: Sequence[str], sides: Sequence[Side]) -> list[str]:
    heads = [*first, "original", *(f"{100 * (side.reduction or 0):g} %" for side in sides[1:])]
    return ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]


def _rights(sides: Sequence[Side], members: Sequence[int]) -> str:
    """Percent right of these questions, a cell for each side."""
    given = [[side.answers[index] for index in members] for side in sides]
    shares = (sum(bool(each and each.right) for each in answers) / len(members) for answers in given)
    return " | ".join(f"{100 * share:.1f}" for share in shares)


if __name__ == "__main__":
    main()
