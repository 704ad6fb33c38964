"""Accuracy of mini-llava by kind of question, original and pruned: `python -m app.demo_model.evaluate`.

Greedy answers of `model.generate`, exact match after trimming and lower-casing, on plain and crowded scenes from seeds
that training never drew, on easy-VQA's test split (needs the package `easy-vqa`), on questions off its topic that share
no template with the training ones, and on pictures that show nothing of its world. Prints a Markdown table for every
method, one column a reduction, and how far the survivors of two reading questions about one picture overlap.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from PIL import Image
from tqdm import tqdm

import fitprune_core as fp
from app.demo_model.crowded import WORLDS, crowded_scene
from app.demo_model.foreign import foreign_picture
from app.demo_model.pictures_pool import easy_vqa_paths, easy_vqa_questions
from app.demo_model.questions import KINDS, READING, UNKNOWN_ANSWER, ask
from app.demo_model.scenes import random_scene
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.models.loading import model_name
from fitprune_core.recipes.store import recipe_source

TEST_SEED = 2_000_000_000
EASY_VQA = "easy-VQA test"
UNSEEN = "unknown, unseen wording"
FOREIGN = "unknown, picture of nothing"
OVERLAP_REDUCTION = 0.8
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

Item = tuple[str, Image.Image, str, str]  # kind, picture, question, true answer


def scene_items(scenes: int, worlds: Sequence[str] = tuple(WORLDS)) -> Iterator[Item]:
    """One question of every kind about each of `scenes` held-out scenes, of these worlds by turns."""
    for number in range(scenes):
        scene = WORLDS[worlds[number % len(worlds)]](TEST_SEED + number)
        picture, rng = scene.draw(), random.Random(f"test-{number}")
        for kind in KINDS:
            question = ask(kind, scene, rng)
            if question is not None:
                yield kind, picture, question.text, question.answer


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
    paths, questions = easy_vqa_paths("test"), easy_vqa_questions("test")
    for text, answer, picture in questions[:: max(1, len(questions) // most)][:most]:
        yield EASY_VQA, Image.open(paths[picture]).convert("RGB"), text, answer


def greedy_answer(model, processor, picture: Image.Image, question: str, max_new_tokens: int = 96) -> str:
    inputs = fp.build_inputs(processor, picture, question)
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
    return processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def recipe_for(model, statistics: str | None) -> Callable[[float], fp.PruningRecipe]:
    """A function from a reduction to a recipe: from a file of statistics, or as the app gets its recipes."""
    if statistics is None:
        return recipe_source(model_name(model), DecoderGeometry.from_config(model.config))
    return partial(fp.fit_recipe, fp.AttentionStatistics.load(statistics))


def measure(
    model, processor, items: Iterable[Item], recipe: fp.PruningRecipe | None = None, method: str = "fitprune"
) -> dict[str, tuple[int, int]]:
    """{kind: (right, asked)} with the model pruned by `recipe`, or as it is."""
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    with fp.prune_visual_tokens(model, recipe, method=method) if recipe is not None else nullcontext():
        for kind, picture, question, answer in items:
            said = greedy_answer(model, processor, picture, question)
            tally[kind][0] += said.strip(" .").lower() == answer.lower()
            tally[kind][1] += 1
    return {kind: (right, asked) for kind, (right, asked) in tally.items()}


@torch.no_grad()
def survivors_overlap(model, processor, recipe: fp.PruningRecipe, scenes: int, method: str = "fitprune") -> float:
    """Mean Jaccard overlap of what is left in the last layer for two reading questions about one crowded scene."""
    overlaps = []
    for number in range(scenes):
        scene, rng = crowded_scene(TEST_SEED + number), random.Random(f"overlap-{number}")
        asked = {q.answer: q.text for q in (ask(kind, scene, rng) for kind in READING * 2) if q is not None}
        if len(asked) < 2:
            continue
        kept = []
        for question in list(asked.values())[:2]:
            with fp.prune_visual_tokens(model, recipe, method=method) as trace:
                model(**fp.build_inputs(processor, scene.draw(), question))
            kept.append(set(trace.kept[-1].tolist()))
        overlaps.append(len(kept[0] & kept[1]) / len(kept[0] | kept[1]))
    return sum(overlaps) / len(overlaps)


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
    original = measure(model, processor, tqdm(items, desc="original")) if 0 in args.reductions else {}
    for method in args.methods:
        columns = []
        for reduction in args.reductions:
            run = partial(measure, model, processor, tqdm(items, desc=f"{method} {reduction:.0%}"))
            columns.append(run(recipes(reduction), method) if reduction else original)
        print(f"\n{method}\n\n{table(args.reductions, columns)}", flush=True)
    if args.overlap:
        overlap = survivors_overlap(model, processor, recipes(OVERLAP_REDUCTION), args.overlap)
        print(f"\nOverlap of the survivors of two reading questions at {OVERLAP_REDUCTION:.0%}: {overlap:.2f}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini-llava")
    parser.add_argument("--scenes", type=int, default=230, help="held-out scenes, about nine questions each")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=tuple(WORLDS), help="kinds of scene, by turns")
    parser.add_argument("--easy-vqa", type=int, default=1000, help="questions of easy-VQA's test split")
    parser.add_argument("--foreign", type=int, default=100, help="pictures that show nothing")
    parser.add_argument("--overlap", type=int, default=100, help="scenes to compare the survivors of two questions on")
    parser.add_argument(
        "--statistics", help="AttentionStatistics (.npz) to fit recipes from, instead of the model's own"
    )
    parser.add_argument("--methods", nargs="+", default=["fitprune"], help="what ranks the tokens")
    parser.add_argument("--reductions", type=float, nargs="+", default=[0.0], help="0 is the original model")
    return parser.parse_args(argv)


def table(reductions: list[float], columns: list[dict[str, tuple[int, int]]]) -> str:
    """Accuracy in percent by kind and reduction, with the number of questions."""
    lines = ["| kind | questions | " + " | ".join(f"{reduction:.0%}" for reduction in reductions) + " |"]
    lines.append("|---" * (len(reductions) + 2) + "|")
    own = [kind for kind in columns[0] if kind in KINDS]
    together = ["all kinds"] if own else []
    for kind in (*own, *together, *(kind for kind in columns[0] if kind not in KINDS)):
        members = own if kind == "all kinds" else [kind]
        counts = [[sum(column[member][i] for member in members) for i in (0, 1)] for column in columns]
        cells = " | ".join(f"{100 * right / asked:.1f}" for right, asked in counts)
        lines.append(f"| {kind} | {counts[0][1]} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
