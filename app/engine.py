"""The engine: one model, its recipes, and the line of those who want it. It knows nothing of Gradio."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from app.budgets import LARGEST_PERCENT, check_percent
from app.settings import DEFAULTS, Limits, Settings
from app.visitors.line import Line
from app.zero_gpu import borrowing_a_gpu
from fitprune_core import (
    METHODS,
    MINI_LLAVA,
    Answered,
    Comparison,
    DecoderGeometry,
    Partial,
    PruningRecipe,
    Way,
    calibrate,
    describe_device,
    evaluate,
    load_model,
    model_name,
    recipe_source,
    stream_comparison,
    sweep,
    tokens_per_layer,
)
from fitprune_core.checks.words import shown
from fitprune_core.evaluation.known import read_known
from fitprune_core.evaluation.sureness import doubts
from fitprune_core.models.loading import resolve_name
from fitprune_core.models.provenance import weights_digest
from fitprune_core.pruning.methods import find_method
from fitprune_core.pruning.paint import UNPAINTED, Paint
from fitprune_core.run.comparison import MEASURING_SECONDS
from fitprune_core.run.looking import Looked, look
from fitprune_core.run.results import ORIGINAL
from fitprune_core.samples.files import SamplesFile

MOST_WAYS = 60  # of one sweep
MOST_NAMED = 10 * MOST_WAYS  # budgets or methods in its lists, where some may come again

# Half of what the GPU of a ZeroGPU Space reads in a second.
_BYTES_A_SECOND = 0.7e12


@dataclass(frozen=True)
class Preview:
    """What a budget will do to a picture of `num_visual_tokens`, before anything runs.

    `tokens` leave each layer; `saving` is the predicted share of visual FLOPs; `note` says what the model's own
    evaluation found near this budget, if there is one.
    """

    percent: float
    num_visual_tokens: int
    tokens: list[int]
    saving: float
    note: str = ""


@dataclass(frozen=True)
class Side:
    """A way to answer: "original", or a method with its options ("random:seed=1") at a budget in percent.

    paint: visual tokens that must stay, or go first; recipe: a visitor's own, which goes before the engine's for the
    budget.
    """

    method: str = ORIGINAL
    percent: float = 0.0
    paint: Paint = UNPAINTED
    recipe: PruningRecipe | None = None


class Engine:
    """Compares the original and the pruned answer of one model. `line` is where requests take turns."""

    def __init__(
        self, model: Any, processor: Any, *, recipes: Path, max_new_tokens: int = 64, limits: Limits = DEFAULTS
    ) -> None:
        """model, processor: as `load_model` returns them. recipes: folder that holds a folder for each model.
        limits: how much may be asked of it.

        Raises ValueError if there is neither statistics nor a published recipe for the model.
        """
        self.model, self.processor = model, processor
        self.max_new_tokens = max_new_tokens
        self.model_name = model_name(model)
        self.device = describe_device(model)
        self.geometry = DecoderGeometry.from_config(model.config)
        self._fit = recipe_source(self.model_name, self.geometry, recipes)
        self._recipe = lru_cache(maxsize=256)(lambda percent: self._fit(percent / 100))
        self.known = read_known(self.model_name, lambda: self.weights, recipes)
        self.limits, self.line = limits, Line(limits)
        self._stream = borrowing_a_gpu(self._stream_here, self._seconds_of_comparison)
        self._look = borrowing_a_gpu(self._look_here, self._seconds_of_look)
        self._sweep = borrowing_a_gpu(self._sweep_here, self._seconds_of_sweep)

    @classmethod
    def from_settings(cls, settings: Settings) -> Engine:
        """Load the model that the settings name. Raises ValueError or MemoryError if it cannot be loaded."""
        loading, name = settings.loading, resolve_name(settings.model)
        if name == MINI_LLAVA and loading.dtype == "auto":
            # What is known of its answers, also those made beforehand, is known of these weights as they are.
            loading = replace(loading, dtype="float32")
        model, processor = load_model(name, **asdict(loading))
        most, limits = settings.max_new_tokens, settings.limits
        return cls(model, processor, recipes=settings.recipes, max_new_tokens=most, limits=limits)

    @cached_property
    def weights(self) -> str:
        """The digest of the model's weights, see `weights_digest`."""
        return weights_digest(self.model)

    @property
    def is_demo(self) -> bool:
        """Whether this is the small embedded model, whose answers show the method and nothing else."""
        return self.model_name == MINI_LLAVA

    def recipe_for(self, percent: float) -> PruningRecipe:
        """The recipe that saves `percent` of the visual FLOPs. Raises ValueError as `check_percent` does."""
        return self._recipe(check_percent(percent))

    def preview(self, percent: float) -> Preview:
        """What the recipe for a budget will do. Milliseconds at the first call, nothing at the next."""
        recipe = self.recipe_for(percent)
        tokens = tokens_per_layer(recipe.removed, recipe.num_visual_tokens)
        note = self.known.note_at(percent)
        return Preview(percent, recipe.num_visual_tokens, tokens, recipe.achieved_reduction, note)

    def doubts(self, comparison: Comparison) -> tuple[str, str]:
        """What speaks against the first and the second answer of a comparison, "" where nothing does; see `doubt`."""
        return doubts(comparison, self.known.sureness if comparison.model == self.model_name else ())

    def previews(self) -> list[Preview]:
        """The previews of all whole percents that the app offers, from 0 up."""
        return [self.preview(percent) for percent in range(LARGEST_PERCENT + 1)]

    def compare(
        self,
        image: Image.Image,
        question: str,
        percent: float,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        method: str = "fitprune",
        against: Side = Side(),
        paint: Paint = UNPAINTED,
        recipe: PruningRecipe | None = None,
    ) -> Generator[Partial | Answered | Comparison, None, None]:
        """Answer a question with the original and the pruned model; the last item is the `Comparison`.

        method: what prunes; against: another first side than the original; paint, recipe: of the second, see `Side`.

        Before the last come the answers as they grow, and `Answered`. It ends without a `Comparison` once `should_stop`
        says so. Whoever calls it has the first place of `line`, so that nobody spoils another's times. Raises
        ValueError for a question or a budget that cannot be.
        """
        first = self.way_of(against)
        yield from self._stream(image, question, recipe or self.recipe_for(percent), method, first, paint, should_stop)

    def way_of(self, side: Side) -> Way:
        """What a side is to the library. Raises ValueError for a method or a budget that cannot be."""
        return Way.of(side.recipe or self.recipe_for(side.percent), side.method, side.paint)

    def _seconds_of_comparison(self, *request: Any) -> int:
        """How long a comparison needs a borrowed GPU: two answers, and the time that measuring them may take."""
        return min(round(2 * self._seconds_of_answer + MEASURING_SECONDS), self.limits.max_seconds)

    def _seconds_of_look(self, *request: Any) -> int:
        """How long a look at a token needs a borrowed GPU: no longer than an answer."""
        return min(round(self._seconds_of_answer), self.limits.max_seconds)

    def _seconds_of_sweep(
        self, image: Image.Image, question: str, recipes: Sequence[PruningRecipe], methods: Sequence[str]
    ) -> int:
        """How long a sweep needs a borrowed GPU."""
        return min(round((1 + len(recipes) * len(methods)) * self._seconds_of_answer), self.limits.max_seconds)

    @property
    def _seconds_of_answer(self) -> float:
        """An answer of full length on a GPU that reads all weights once a token, and as long again for the rest."""
        size = sum(weight.numel() * weight.element_size() for weight in self.model.parameters())
        return 2.0 + 2 * self.max_new_tokens * size / _BYTES_A_SECOND

    def _stream_here(
        self,
        image: Image.Image,
        question: str,
        recipe: PruningRecipe,
        method: str,
        against: Way,
        paint: Paint,
        should_stop: Callable[[], bool],
    ) -> Iterator[Partial | Answered | Comparison]:
        yield from stream_comparison(
            self.model,
            self.processor,
            image,
            question,
            recipe,
            method=method,
            against=against,
            stay=paint.stay,
            go=paint.go,
            max_new_tokens=self.max_new_tokens,
            should_stop=should_stop,
        )

    def look(
        self,
        image: Image.Image,
        question: str,
        percent: float,
        token_ids: Sequence[int],
        should_stop: Callable[[], bool] = lambda: False,
        *,
        method: str = "fitprune",
        against: Side = Side(),
        paint: Paint = UNPAINTED,
        recipe: PruningRecipe | None = None,
    ) -> Iterator[Looked]:
        """Look at the token that follows a question and an answer's first tokens, by the sides of `compare`.

        One `Looked` comes, see `fitprune_core.run.looking.look`; none where `should_stop` says so before.
        """
        ways = (self.way_of(against), self.way_of(Side(method, percent, paint, recipe)))
        if not should_stop():
            yield from self._look(image, question, ways, tuple(token_ids), should_stop)

    def _look_here(
        self,
        image: Image.Image,
        question: str,
        ways: tuple[Way, Way],
        token_ids: tuple[int, ...],
        should_stop: Callable[[], bool],
    ) -> Iterator[Looked]:
        yield look(self.model, self.processor, image, question, ways, token_ids)

    def sweep(
        self,
        image: Image.Image,
        question: str,
        percents: Sequence[float],
        methods: Sequence[str],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Comparison]:
        """Answer a question by every method at every budget, see `fitprune_core.sweep`."""
        recipes = [self.recipe_for(percent) for percent in dict.fromkeys(percents)]
        return self._sweep(image, question, recipes, tuple(methods), should_stop)

    def _sweep_here(
        self,
        image: Image.Image,
        question: str,
        recipes: Sequence[PruningRecipe],
        methods: Sequence[str],
        should_stop: Callable[[], bool],
    ) -> Iterator[Comparison]:
        yield from sweep(
            self.model,
            self.processor,
            image,
            question,
            recipes,
            methods,
            max_new_tokens=self.max_new_tokens,
            should_stop=should_stop,
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of all methods that can be asked for."""
        return tuple(METHODS)

    def evaluate(
        self,
        samples: Path,
        percents: Sequence[float],
        methods: Sequence[str],
        out: Path,
        *,
        progress: Callable[[int, int], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Answer a samples file with the original and every method at every budget, see `fitprune_core.evaluate`.

        It shares the model with comparisons, which go between two batches.
        """
        evaluate(
            self.model,
            self.processor,
            SamplesFile(samples, max_pixels=self.limits.max_pixels),
            [check_percent(percent) / 100 for percent in percents],
            self._fit,
            out,
            methods=methods,
            max_new_tokens=self.max_new_tokens,
            batch_size="auto",
            progress=progress,
            should_stop=should_stop,
        )

    def calibrate(
        self, samples: Path, out: Path, *, progress: Callable[[int, int], None], should_stop: Callable[[], bool]
    ) -> None:
        """Collect the model's statistics over a samples file, see `fitprune_core.calibrate`."""
        calibrate(
            self.model,
            self.processor,
            SamplesFile(samples, max_pixels=self.limits.max_pixels),
            out,
            batch_size="auto",
            progress=progress,
            should_stop=should_stop,
        )


def check_name(method: Any) -> None:
    """Raise ValueError for what is no name of a method, whether there is such a method or not."""
    if not isinstance(method, str):
        raise ValueError(f"Methods are given by name, as in {', '.join(METHODS)}, not as {shown(method)}.")


def check_ways(percents: Any, methods: Any) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Budgets in percent and methods, each once. Raises ValueError for what cannot be, or is too much."""
    if not isinstance(percents, list | tuple) or not percents or not isinstance(methods, list | tuple) or not methods:
        raise ValueError("A sweep needs a list of budgets and a list of methods, neither of them empty.")
    for what, given in (("budgets", percents), ("methods", methods)):
        if len(given) > MOST_NAMED:  # before any of them is looked at
            raise ValueError(f"{len(given):,} {what} are too many; a sweep has up to {MOST_WAYS} ways.")
    for method in methods:
        check_name(method)
    found = {find_method(method).label: method for method in methods}
    budgets = tuple(dict.fromkeys(map(check_percent, percents)))
    if len(budgets) * len(found) > MOST_WAYS:
        ways = f"{len(budgets)} budgets by {len(found)} methods"
        raise ValueError(f"{ways} are too many; a sweep has up to {MOST_WAYS} ways.")
    return budgets, tuple(found.values())
