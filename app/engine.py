"""The engine: one model, its recipes, and the line of those who want it. It knows nothing of Gradio."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from app.line import Line
from app.settings import Settings
from fitprune_core import (
    METHODS,
    MINI_LLAVA,
    Answered,
    Comparison,
    DecoderGeometry,
    Partial,
    PruningRecipe,
    calibrate,
    describe_device,
    evaluate,
    load_model,
    model_name,
    stream_comparison,
    tokens_per_layer,
)
from fitprune_core.checks.words import shown
from fitprune_core.recipes.store import recipe_source

LARGEST_PERCENT = 90

# On a ZeroGPU Space a call gets the GPU for so many seconds at most: both runs of a long answer of a 7B model.
_GPU_SECONDS = 60


@dataclass(frozen=True)
class Preview:
    """What a budget will do to a picture of `num_visual_tokens`, before anything runs.

    `tokens` leave each layer; `saving` is the predicted share of visual FLOPs.
    """

    percent: float
    num_visual_tokens: int
    tokens: list[int]
    saving: float


class Engine:
    """Compares the original and the pruned answer of one model. `line` is where requests take turns."""

    def __init__(self, model: Any, processor: Any, *, recipes: Path, max_new_tokens: int = 64) -> None:
        """model, processor: as `load_model` returns them. recipes: folder that holds a folder for each model.

        Raises ValueError if there is neither statistics nor a published recipe for the model.
        """
        self.model, self.processor = model, processor
        self.max_new_tokens = max_new_tokens
        self.model_name = model_name(model)
        self.device = describe_device(model)
        self.geometry = DecoderGeometry.from_config(model.config)
        self._fit = recipe_source(self.model_name, self.geometry, recipes)
        self._recipe = lru_cache(maxsize=256)(lambda percent: self._fit(percent / 100))
        self.line = Line()
        self._stream = _on_zero_gpu(self._stream_here)

    @classmethod
    def from_settings(cls, settings: Settings) -> Engine:
        """Load the model that the settings name. Raises ValueError or MemoryError if it cannot be loaded."""
        model, processor = load_model(settings.model, **asdict(settings.loading))
        return cls(model, processor, recipes=settings.recipes, max_new_tokens=settings.max_new_tokens)

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
        return Preview(percent, recipe.num_visual_tokens, tokens, recipe.achieved_reduction)

    def previews(self) -> list[Preview]:
        """The previews of all whole percents that the app offers, from 0 up."""
        return [self.preview(percent) for percent in range(LARGEST_PERCENT + 1)]

    def compare(
        self,
        image: Image.Image,
        question: str,
        percent: float,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Generator[Partial | Answered | Comparison, None, None]:
        """Answer a question with the original and the pruned model; the last item is the `Comparison`.

        Before the last come the answers as they grow, and `Answered`. It ends without a `Comparison` once `should_stop`
        says so. Whoever calls it has the first place of `line`, so that nobody spoils another's times. Raises
        ValueError for a question or a budget that cannot be.
        """
        yield from self._stream(image, question, self.recipe_for(percent), should_stop)

    def _stream_here(
        self, image: Image.Image, question: str, recipe: PruningRecipe, should_stop: Callable[[], bool]
    ) -> Iterator[Partial | Answered | Comparison]:
        yield from stream_comparison(
            self.model,
            self.processor,
            image,
            question,
            recipe,
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
            samples,
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
            self.model, self.processor, samples, out, batch_size="auto", progress=progress, should_stop=should_stop
        )


def check_percent(value: Any) -> float:
    """Return a budget in percent as a number, or raise ValueError: from 0 to 90, neither NaN nor a text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= LARGEST_PERCENT:
        raise ValueError(
            f"The budget is the percentage of visual FLOPs to save, a number from 0 to {LARGEST_PERCENT}, not "
            f"{shown(value)}."
        )
    return value


def _on_zero_gpu(stream: Callable) -> Callable:
    """On a Hugging Face Space with ZeroGPU, borrow a GPU for each call; anywhere else, the function itself."""
    if os.environ.get("SPACES_ZERO_GPU") != "true":
        return stream
    import spaces  # only such a Space has it

    return spaces.GPU(duration=_GPU_SECONDS)(stream)
