"""What a comparison found: two runs, what each cost, and where every visual token went; also as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fitprune_core.cost.request import RequestFlops
from fitprune_core.models.layout import VisualLayout
from fitprune_core.pruning.methods.base import ORIGINAL
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.timing import Paired

CONVENTIONS = {
    "visual_gflops": "counted: the decoder's work on visual tokens alone, 1e9 FLOPs, 2 per multiply-add",
    "total_gflops": "counted: vision tower, projector, prefill with text, scoring and decoding, 1e9 FLOPs, 2 per "
    "multiply-add, matrix products only",
    "kv_cache_bytes": "measured: keys and values of all layers after the last token",
    "margin": "how much likelier the answer's least sure token was than the next likeliest, 0 to 1",
    "new_tokens": "counted: the end-of-sequence token included",
    "prefill_ms": "measured: from pixels and token ids to the first new token",
    "decode_ms": "measured: from the first new token to the last",
    "paired": "the times of both runs, round by round: least and most of each in milliseconds; ratio: the median of "
    "original / pruned within a round; interval: of that median, 95 %; null for too few rounds",
    "dropped_after": "for each visual token the layer, from 0, after whose attention it was dropped; -1 if it never "
    "reached the first; the number of layers if it was kept",
    "rank": "for each visual token its rank among those dropped at its layer, from 1, the least important first; 0 if "
    "it was kept",
    "boxes": "left, top, right, bottom in pixels of the picture",
}


@dataclass(frozen=True)
class Run:
    """One answer and what it cost. The conventions are those of `CONVENTIONS`.

    `per_token_ms` is None for an answer of one token; `flops` are the parts of `total_gflops`, in FLOPs. `token_ids`:
    all new tokens, the end-of-sequence token included; `pieces`: the text that each adds, "" for such a token. `margin`
    is None in comparisons that were saved before it was noted.
    """

    answer: str
    new_tokens: int
    prefill_ms: float
    decode_ms: float
    visual_gflops: float
    total_gflops: float
    kv_cache_bytes: int
    per_token_ms: float | None
    total_ms: float
    flops: RequestFlops
    token_ids: tuple[int, ...] = ()
    pieces: tuple[str, ...] = ()
    margin: float | None = None


@dataclass(frozen=True)
class Partial:
    """The answers so far, while they are streamed. stage: which run is on, "original" (the first) or "pruned"."""

    stage: str
    original: str
    pruned: str


@dataclass(frozen=True)
class Answered:
    """Both answers are there, and all that is counted; the times of `comparison` are those of the streamed runs."""

    comparison: Comparison


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """What one side did to the visual tokens of a picture.

    Attributes:
        reduction, achieved_reduction: share of visual compute to save, as asked and as saved for this picture.
        recipe, method, procedure: the recipe that was given, what ranked the tokens, how the recipe was made. Of the
            model as it is the recipe removes nothing, and the method is "original".
        removed: visual tokens dropped at each layer, for this picture.
        kept: for each layer the visual tokens that leave it, ascending.
        kept_before: those that enter the first layer, where some were dropped before it; else None.
        dropped_after, rank: one entry a visual token, see `CONVENTIONS`.
        stay, go: visual tokens that were told to stay, or to go first, whatever the method thinks of them.
    """

    reduction: float
    achieved_reduction: float
    recipe: PruningRecipe
    method: str
    procedure: str
    removed: tuple[int, ...]
    kept: tuple[tuple[int, ...], ...]
    dropped_after: tuple[int, ...]
    rank: tuple[int, ...]
    kept_before: tuple[int, ...] | None = None
    stay: tuple[int, ...] = ()
    go: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """ "original", "fitprune 60 %", or "fitprune 60 %, painted"."""
        return title_of(self.method, self.reduction, is_painted=self.is_painted)

    @property
    def is_painted(self) -> bool:
        """Whether somebody told visual tokens to stay or to go."""
        return bool(self.stay or self.go)

    @property
    def num_dropped_before(self) -> int:
        """Visual tokens that never reached the first layer."""
        return self.dropped_after.count(-1)

    @property
    def num_dropped(self) -> int:
        """Visual tokens that were dropped, before the first layer or at any."""
        return sum(self.removed) + self.num_dropped_before

    def pruning_to_json(self) -> dict[str, Any]:
        """As JSON has it; `report.reading` reads it back."""
        return {
            "method": self.method,
            "reduction": self.reduction,
            "achieved_reduction": self.achieved_reduction,
            "procedure": self.procedure,
            "removed": list(self.removed),
            "kept": [list(tokens) for tokens in self.kept],
            "kept_before": None if self.kept_before is None else list(self.kept_before),
            "dropped_after": list(self.dropped_after),
            "rank": list(self.rank),
            "stay": list(self.stay),
            "go": list(self.go),
            "recipe": self.recipe.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Comparison(Pruning):
    """Two ways to answer one request, and of the second what it did to the visual tokens.

    Attributes:
        model, device: the checkpoint's name, and what it ran on, in words.
        question: as it was asked.
        layout: where each visual token lies in the picture.
        original, pruned: the run of the first way, which is the model as it is unless `against` says otherwise, and of
            the second.
        against: what the first way did to the visual tokens; None for the model as it is.
        agree: whether the answers are the same but for upper case, white space and final punctuation.
        timing: how the times were obtained, in words.
        paired: "prefill", "per_token" and "total" of both runs over the rounds of the measurement, compared; None where
            that cannot be: no measurement, answers of one token, totals of answers that differ in length.
        warnings: what speaks against the recipe for this model, in words.
    """

    model: str
    device: str
    question: str
    layout: VisualLayout
    original: Run
    pruned: Run
    agree: bool
    timing: str
    warnings: tuple[str, ...] = ()
    paired: Mapping[str, Paired | None] = field(default_factory=dict)
    against: Pruning | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the stable keys of `compare --json` first, then everything else that is known."""
        layout, pruning = asdict(self.layout), self.pruning_to_json()
        return {
            "model": self.model,
            **{name: pruning.pop(name) for name in ("reduction", "achieved_reduction", "removed", "kept")},
            "original": _run_to_json(self.original),
            "pruned": _run_to_json(self.pruned),
            **pruning,
            "against": self.against and self.against.pruning_to_json(),
            "question": self.question,
            "agree": self.agree,
            "device": self.device,
            "timing": self.timing,
            "paired": {name: each and each.to_json() for name, each in self.paired.items()},
            "warnings": list(self.warnings),
            "image_size": list(layout.pop("image_size")),
            "boxes": [box and list(box) for box in layout.pop("boxes")],
            "tiles": [list(box) for box in layout.pop("tiles")],
            **{name: list(value) if isinstance(value, tuple) else value for name, value in layout.items()},
            "conventions": CONVENTIONS,
        }


def title_of(method: str, reduction: float, *, is_painted: bool = False) -> str:
    """What a side of a comparison is called, see `Pruning.title`."""
    painted = ", painted" if is_painted else ""
    return ORIGINAL if method == ORIGINAL else f"{method} {100 * reduction:.4g} %{painted}"


def normalised(answer: str) -> str:
    """An answer without what does not change it: upper case, runs of white space, punctuation at the end."""
    return " ".join(answer.casefold().split()).rstrip(" .,;:!?")


def fates(
    dropped: Sequence[Sequence[int]], num_visual: int, dropped_before: Sequence[int] = ()
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each visual token the layer that dropped it and its rank there, from the layers' lists of dropped tokens.

    dropped_before: what never reached the first layer, whose fate is layer -1.
    """
    layers, ranks = [len(dropped)] * num_visual, [0] * num_visual
    for layer, tokens in enumerate([dropped_before, *dropped], start=-1):
        for rank, token in enumerate(tokens, start=1):
            layers[token], ranks[token] = layer, rank
    return tuple(layers), tuple(ranks)


def _run_to_json(run: Run) -> dict[str, Any]:
    entries = asdict(run)
    lists = {name: list(entries[name]) for name in ("token_ids", "pieces")}
    return {**entries, **lists, "flops": {**entries["flops"], "total": run.flops.total}}
