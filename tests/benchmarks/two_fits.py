"""The fit from statistics beside the authors' own, on mini-llava: how far apart the recipes are, and the answers."""

from __future__ import annotations

from itertools import accumulate

from app.demo_model.samples import drawn_samples
from fitprune_core.calibration.observe import collect_statistics
from fitprune_core.calibration.sequential import fit_recipe_sequential
from fitprune_core.models.loading import MINI_LLAVA, load_model
from fitprune_core.models.prompts import build_inputs
from fitprune_core.pruning.methods import find_method
from fitprune_core.recipes.fit import fit_recipe
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.answer import UNPRUNED, Way, answer
from fitprune_core.run.decoding import Decoding
from tests.benchmarks.report import Report

REDUCTIONS = (0.2, 0.4, 0.6, 0.8)
WORLDS = ("plain",)  # those that the weights that ship have seen
CALIBRATION_SEED, QUESTION_SEED = 0, 1  # of `mini_llava.samples`
SAMPLES, QUESTIONS = 48, 110
LONGEST_ANSWER = 64
HEADER = (
    "budget", "alpha, statistics", "alpha, sequential", "tokens apart", "one answer for both",
    "as the original: statistics", "as the original: sequential",
)  # fmt: skip


def run(rounds: int = 1) -> Report:
    """Fit both ways at four budgets and answer held-out questions with both recipes. `rounds` changes nothing."""
    model, processor = load_model(MINI_LLAVA)
    samples = [(scene.draw(), question.text) for scene, question in drawn_samples(SAMPLES, CALIBRATION_SEED, WORLDS)]
    statistics = collect_statistics(model, processor, samples)
    prompts = [
        build_inputs(processor, scene.draw(), question.text)
        for scene, question in drawn_samples(QUESTIONS, QUESTION_SEED, WORLDS)
    ]
    original = answers(model, processor, prompts, None)
    report = Report("The fit from statistics beside the sequential one", tables=[[HEADER]])
    for reduction in REDUCTIONS:
        ours = fit_recipe(statistics, reduction)
        theirs = fit_recipe_sequential(model, processor, samples, reduction)
        by_ours, by_theirs = (answers(model, processor, prompts, recipe) for recipe in (ours, theirs))
        report.tables[0].append((
            f"{reduction:.0%}", f"{ours.alpha:.3f}", f"{theirs.alpha:.3f}", f"{distance(ours, theirs):.1%}",
            *(f"{agreement(*pair):.1%}" for pair in ((by_ours, by_theirs), (by_ours, original), (by_theirs, original))),
        ))  # fmt: skip
    report.notes.append(
        f"mini-llava, {SAMPLES} calibration samples, {QUESTIONS} held-out questions of all kinds, greedy answers. "
        "Tokens apart: by how many of the visual tokens the two recipes differ after a layer, mean over the layers. "
        "Both recipes save the same FLOPs."
    )
    return report


def distance(ours: PruningRecipe, theirs: PruningRecipe) -> float:
    """Mean difference of the tokens that are gone after each layer, as a share of all visual tokens."""
    pairs = zip(accumulate(ours.removed), accumulate(theirs.removed), strict=True)
    return sum(abs(a - b) for a, b in pairs) / ours.num_layers / ours.num_visual_tokens


def answers(model, processor, prompts: list, recipe: PruningRecipe | None) -> list[tuple[int, ...]]:
    """The greedy answers, as token ids, of the model as it is or pruned."""
    way = UNPRUNED if recipe is None else Way(recipe, find_method("fitprune"))
    return [answer(model, processor, [prompt], way, Decoding(LONGEST_ANSWER))[0].token_ids for prompt in prompts]


def agreement(ours: list, theirs: list) -> float:
    """Share of equal answers."""
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)


def main() -> None:
    """Print the table."""
    print(run().markdown())


if __name__ == "__main__":
    main()
