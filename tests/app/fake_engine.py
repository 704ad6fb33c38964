"""An engine without a model: answers by script, figures by the project's own arithmetic. For tests of the page."""

from __future__ import annotations

import csv
import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import accumulate, pairwise, product

import numpy as np
from PIL import Image

from app.budgets import LARGEST_PERCENT, check_percent
from app.engine import Preview, Side
from app.settings import Limits
from app.visitors.line import Line
from fitprune_core.cost.decoder import DecoderGeometry, tokens_per_layer, visual_flops, visual_reduction
from fitprune_core.cost.request import RequestFlops
from fitprune_core.models.layout import VisualLayout
from fitprune_core.pruning.methods import find_method
from fitprune_core.pruning.paint import UNPAINTED, Paint
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.comparison import Answered, Comparison, Partial, Run
from fitprune_core.run.looking import Looked, Sight
from fitprune_core.run.questions import check_question
from fitprune_core.run.results import Pruning, fates
from fitprune_core.run.timing import Paired
from fitprune_core.samples.files import read_samples


@dataclasses.dataclass(frozen=True)
class Shape:
    """How large a model seems to be: its decoder's layers, and a picture's patches along each side."""

    layers: int = 12
    grid: int = 16

    @property
    def tokens(self) -> int:
        return self.grid**2

    @property
    def geometry(self) -> DecoderGeometry:
        return DecoderGeometry(
            num_layers=self.layers,
            hidden_size=160,
            intermediate_size=448,
            query_width=160,
            kv_width=160,
            vocab_size=512,
        )


SHAPE = Shape()
GEOMETRY, GRID, TOKENS = SHAPE.geometry, SHAPE.grid, SHAPE.tokens
SIDE = Side()
MANY_REQUESTS = Limits(max_requests=100_000, max_requests_per_address=100_000)


class FakeEngine:
    """Same face as `app.engine.Engine`. `answers` are (original, pruned); `error` is raised instead of answering.

    A word takes `delay` seconds, the measurement `measuring`; `most` is how many were ever at it at once. limits: those
    of a server, but with as many requests as tests send. shape: of the model that it stands for.
    """

    weights, max_new_tokens = "none", 64
    model_name, device, is_demo = "mini-llava", "CPU · float32 · 2 threads", True

    def __init__(
        self,
        answers: tuple[str, str] = ("a red car", "a red car"),
        *,
        delay: float = 0.0,
        limits: Limits = MANY_REQUESTS,
        shape: Shape = SHAPE,
    ) -> None:
        self.shape, self.geometry = shape, shape.geometry
        self.answers, self.delay, self.measuring = answers, delay, delay
        self.limits, self.line = limits, Line(limits)
        self.error: Exception | None = None
        self.doubt = ""
        self.looked: list[tuple[int, ...]] = []
        self.painted: list[Paint] = []
        self.sides: list[tuple[Side, str]] = []
        self.asked: list[tuple[tuple[int, int], str, float]] = []
        self.working = self.most = 0

    def recipe_for(self, percent: float) -> PruningRecipe:
        """Layers lose a constant share each, as much as meets the budget best."""
        check_percent(percent)
        achieved, removed = min(_schedules(self.shape), key=lambda schedule: abs(schedule[0] - percent / 100))
        return PruningRecipe(self.model_name, self.shape.layers, self.shape.tokens, percent / 100, achieved, removed)

    def preview(self, percent: float) -> Preview:
        recipe = self.recipe_for(percent)
        tokens = self.shape.tokens
        return Preview(percent, tokens, tokens_per_layer(recipe.removed, tokens), recipe.achieved_reduction)

    def doubts(self, comparison: Comparison) -> tuple[str, str]:
        return "", self.doubt

    def calibrate(self, samples, out, *, progress, should_stop) -> None:
        raise ValueError("a script has no attention")

    def previews(self) -> list[Preview]:
        return [self.preview(percent) for percent in range(LARGEST_PERCENT + 1)]

    def compare(
        self,
        image: Image.Image,
        question: str,
        percent: float,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        method: str = "fitprune",
        against: Side = SIDE,
        paint: Paint = UNPAINTED,
        recipe: PruningRecipe | None = None,
    ) -> Iterator[Partial | Answered | Comparison]:
        self.painted.append(paint)
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            self.sides.append((against, method))
            yield from self._compare(image, question, percent, should_stop, method, against, paint, recipe)
        finally:
            self.working -= 1

    def _compare(
        self, image, question, percent, should_stop, method, against, paint, recipe
    ) -> Iterator[Partial | Answered | Comparison]:
        # As the engine does: of the model as it is no recipe is known, and nothing is saved.
        question = check_question(question)
        recipe = recipe or self.recipe_for(0 if method == "original" else percent)
        self.asked.append((image.size, question, percent))
        original, pruned = self.answers
        for stage, words in (("original", original.split()), ("pruned", pruned.split())):
            for count in range(1, len(words) + 1):
                time.sleep(self.delay)
                if should_stop():
                    return
                so_far = " ".join(words[:count])
                yield Partial(stage, so_far if stage == "original" else original, so_far if stage == "pruned" else "")
        if self.error is not None:
            raise self.error
        comparison = make_comparison(image.size, question, recipe, self.answers, shape=self.shape)
        first = None
        if against.method != "original":
            other = against.recipe or self.recipe_for(against.percent)
            same = make_comparison(image.size, question, other, self.answers, shape=self.shape)
            fields = {field.name: getattr(same, field.name) for field in dataclasses.fields(Pruning)}
            first = Pruning(**fields | {"method": find_method(against.method).label})
        label = method if method == "original" else find_method(method).label
        comparison = replace(comparison, method=label, against=first, stay=paint.stay, go=paint.go)
        yield Answered(replace(comparison, paired={}))
        time.sleep(self.measuring)
        if not should_stop():
            yield comparison

    def sweep(self, image, question, percents, methods, should_stop=lambda: False) -> Iterator[Comparison]:
        """The pruned answer is the original's up to 60 %."""
        for _, percent in product(methods, percents):
            time.sleep(self.delay)
            if should_stop():
                return
            original, pruned = self.answers
            answers = (original, original if percent <= 60 else pruned)
            recipe = self.recipe_for(percent)
            yield make_comparison(image.size, check_question(question), recipe, answers, shape=self.shape)

    def look(
        self,
        image,
        question,
        percent,
        token_ids,
        should_stop=lambda: False,
        *,
        method="fitprune",
        against=SIDE,
        paint=UNPAINTED,
        recipe=None,
    ):
        """The left is sure of its first token, the right is not; attention grows with the token's number."""
        self.looked.append(tuple(token_ids))
        layers, tokens = self.shape.layers, self.shape.tokens
        attention = np.tile(np.linspace(0, 1, tokens, dtype=np.float32) / tokens, (layers, 1))
        attention[layers // 2 :, : tokens // 2] = np.nan
        names = ["red", "blue", "", "green", "car"]
        sights = [
            Sight(tuple((name, at, share / 2**at) for at, name in enumerate(names)), share / 2, attention)
            for share in (0.9, 0.5)
        ]
        yield Looked(tuple(token_ids), (sights[0], sights[1]), 0.125)

    methods = ("fitprune", "random")

    def evaluate(self, samples, percents, methods, out, *, progress, should_stop) -> None:
        """Every second pruned answer is another one; the original's are right."""
        asked = list(read_samples(samples))
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(RESULTS)
            for number, sample in enumerate(asked):
                about = [sample.answer, sample.kind, sample.question, sample.image.name, "mini-llava"]
                writer.writerow([sample.id, 0, "original", sample.answer, "1", 2.0, *about])
                for percent, method in product(percents, methods):
                    is_right = number % 2 == 0
                    answer = sample.answer if is_right else "something else"
                    flops = 2.0 * (1 - percent / 100)
                    label = find_method(method).label
                    writer.writerow([sample.id, percent / 100, label, answer, str(int(is_right)), flops, *about])
                progress(number + 1, len(asked))
                time.sleep(self.delay)


def make_paired(original: float, pruned: float, *, spread: float = 0.1, rounds: int = 9) -> Paired:
    """Times of two sides, and a ratio whose interval reaches `spread` of it to both sides."""
    ratio = original / pruned
    ends = [(side * (1 - spread), side * (1 + spread)) for side in (original, pruned)]
    return Paired(rounds, *ends, ratio, (ratio * (1 - spread), ratio * (1 + spread)) if rounds > 5 else None)


# Columns of a table of answers, those that the page reads.
RESULTS = ("id", "reduction", "method", "answer", "correct", "visual_gflops")
RESULTS += ("expected", "kind", "question", "image", "model")


def make_comparison(
    size: tuple[int, int],
    question: str,
    recipe: PruningRecipe,
    answers: tuple[str, str],
    *,
    prefill=(24.1, 15.0),
    paired: Paired | None = None,
    shape: Shape = SHAPE,
) -> Comparison:
    """A comparison in which every layer drops the lowest numbered of a shuffled order of tokens."""
    dropped, kept = _drop(recipe.removed, shape.tokens)
    dropped_after, rank = fates(dropped, shape.tokens)
    nothing = [0] * shape.layers
    runs = [
        _run(answer, milliseconds, counts, shape)
        for answer, milliseconds, counts in zip(answers, prefill, (nothing, recipe.removed), strict=True)
    ]
    return Comparison(
        model="mini-llava",
        device=FakeEngine.device,
        question=question,
        reduction=recipe.reduction,
        achieved_reduction=recipe.achieved_reduction,
        recipe=recipe,
        method="fitprune",
        procedure="statistics",
        removed=recipe.removed,
        kept=kept,
        dropped_after=dropped_after,
        rank=rank,
        layout=make_layout(size, shape.grid),
        original=runs[0],
        pruned=runs[1],
        agree=answers[0] == answers[1],
        timing="median of 9 runs of each, in turns, after the streamed run and 1 warm-up.",
        paired={name: paired or make_paired(*prefill) for name in ("prefill", "per_token", "total")},
    )


def make_layout(size: tuple[int, int], grid: int = GRID) -> VisualLayout:
    """The middle square of a picture, in grid x grid patches."""
    width, height = size
    side = min(size)
    left, top, patch = (width - side) / 2, (height - side) / 2, side / grid
    boxes = tuple(
        (left + column * patch, top + row * patch, left + (column + 1) * patch, top + (row + 1) * patch)
        for row in range(grid)
        for column in range(grid)
    )
    seen = (left, top, left + side, top + side)
    return VisualLayout(size, boxes, grid, grid, seen, "crop", ("grid",) * grid**2)


@cache  # every page asks for its 91 recipes
def _schedules(shape: Shape) -> list[tuple[float, tuple[int, ...]]]:
    """Recipes from removing nothing to removing nearly everything at once, each after what it saves."""
    found, tokens, geometry = [], shape.tokens, shape.geometry
    for step in range(200):
        left = [tokens, *(round(tokens * (1 - step / 200) ** (layer + 1)) for layer in range(shape.layers))]
        removed = tuple(before - after for before, after in pairwise(left))
        found.append((visual_reduction(geometry, removed, tokens), removed))
    return found


def _drop(removed: tuple[int, ...], tokens: int) -> tuple[list[list[int]], tuple[tuple[int, ...], ...]]:
    order = sorted(range(tokens), key=lambda token: token * 97 % tokens)
    ends = list(accumulate(removed))
    dropped = [order[end - count : end] for count, end in zip(removed, ends, strict=True)]
    return dropped, tuple(tuple(sorted(order[end:])) for end in ends)


def tokens_of(*words: str) -> tuple[int, ...]:
    """A token a word, the same for the same word; that of "" ends an answer."""
    return tuple(sum(map(ord, word)) % 500 for word in words)


def _run(answer: str, prefill_ms: float, removed, shape: Shape) -> Run:
    tokens, geometry = len(answer.split()) + 1, shape.geometry
    visual = visual_flops(geometry, removed, shape.tokens)
    flops = RequestFlops(vision_tower=300_000_000, projector=9_000_000, prefill=visual, scoring=0, decode=1_000_000)
    cached = sum([shape.tokens, *tokens_per_layer(removed, shape.tokens)[:-1]]) * 160 * 2 * 4
    decode_ms = 6.0 * (tokens - 1)
    return Run(
        answer=answer,
        new_tokens=tokens,
        prefill_ms=prefill_ms,
        decode_ms=decode_ms,
        visual_gflops=visual / 1e9,
        total_gflops=flops.total / 1e9,
        kv_cache_bytes=cached,
        per_token_ms=decode_ms / (tokens - 1) if tokens > 1 else None,
        total_ms=prefill_ms + decode_ms,
        flops=flops,
        token_ids=tokens_of(*answer.split(), ""),
        pieces=(*re.findall(r"\s*\S+", answer), ""),
        margin=round(0.2 + 0.7 * visual / visual_flops(geometry, [0] * shape.layers, shape.tokens), 4),
    )
