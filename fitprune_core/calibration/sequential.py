"""The authors' fit: every trial of an alpha runs the model with tokens really removed.

The rule is that of `recipes.fit`, but the attention of later layers is what the model really pays to the tokens that
are left. Faithful and slow: ceil(log2(1 / tolerance)) passes over the samples (arXiv 2409.10197, section 3;
`statistical_analysis.py` of github.com/ywh187/FitPrune at commit d28e418).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.calibration.observe import observe
from fitprune_core.checks.words import plural
from fitprune_core.cost.decoder import DecoderGeometry, visual_flops, visual_reduction
from fitprune_core.models.decoder import Attended
from fitprune_core.models.exclusive import free_model
from fitprune_core.models.family import family_of
from fitprune_core.models.layout import image_aspect
from fitprune_core.models.loading import model_name
from fitprune_core.pruning.context import pruned
from fitprune_core.pruning.methods.fitprune import FitPrune
from fitprune_core.pruning.prompt import PrunedPrompt
from fitprune_core.recipes.budget import check_reachable, round_to_budget, saved_share, trim_to_budget
from fitprune_core.recipes.recipe import PruningRecipe, check_attention, check_share
from fitprune_core.run.asked import LONGEST_OF_DATA, as_asked

# The authors halve the interval from 0 to 1 until it is no longer than this.
TRIAL_TOLERANCE = 0.01 + 1e-6


@dataclass(frozen=True)
class Trial:
    """One alpha that was tried on all samples.

    Attributes:
        alpha: the bound on the attention that a layer may lose.
        meets: whether the budget was met, over all samples together, before the last layer.
        removed: visual tokens removed, int64 (samples, layers); 0 from the layer at which the budget was met.
        num_visual_tokens: what each sample had, int64 (samples,).
    """

    alpha: float
    meets: bool
    removed: np.ndarray
    num_visual_tokens: np.ndarray

    @property
    def floored(self) -> tuple[int, ...]:
        """The counts as the authors round them: the mean of each layer, rounded down."""
        return tuple(int(count) for count in self.removed.sum(axis=0) // len(self.removed))

    def mean_removed(self, num_visual_tokens: int) -> np.ndarray:
        """Mean share of the tokens that each layer removes, for a picture of so many tokens: float64 (layers,)."""
        return (self.removed / self.num_visual_tokens[:, None]).mean(axis=0) * num_visual_tokens


def fit_recipe_sequential(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    samples: Iterable[tuple[Image.Image, str]],
    reduction: float,
    *,
    attention: str = "both",
    cost: DecoderGeometry | None = None,
    progress: Callable[[Trial], None] | None = None,
) -> PruningRecipe:
    """Fit a recipe as the authors do, with their grid of alphas; the smallest that meets the budget wins.

    Args:
        samples: (picture, question) pairs; pictures may have different token counts, of which the largest is the
            recipe's. They are gone through once for every alpha, so an iterator is kept in memory as a list.
        reduction: share of visual compute to save, 0 <= reduction < 1. The recipe meets it within 0.05 points where
            whole tokens allow that; the authors' rounding is in `Trial.floored`.
        attention: "both", "self" or "cross".
        cost: the decoder whose cost is the budget, if not the model's own (the authors count every model as a 7B).
        progress: called after every alpha.

    Raises ValueError for a reduction or attention that cannot be, no samples, a picture or question
    that cannot be asked about, and what `prune_visual_tokens` refuses.
    """
    model = free_model(model)
    geometry = cost or DecoderGeometry.from_config(model.config)
    reduction = check_share("reduction", reduction)
    check_attention(attention)
    pairs = samples if isinstance(samples, Sequence) else list(samples)
    if not pairs:
        raise ValueError("there are no samples to fit a recipe on")
    trials = []
    for trial in search(model, _Prompts(model, processor, pairs), reduction, attention=attention, cost=geometry):
        trials.append(trial)
        if progress is not None:
            progress(trial)
    first = family_of(model.config).first_drop_layer(model.config)
    best = min((trial for trial in trials if trial.meets), key=lambda trial: trial.alpha, default=None)
    if best is None:
        raise ValueError(
            f"reduction is {reduction:g}, but dropping from layer {first + 1} on (counted from 1) does not save as "
            f"much of {geometry.num_layers} layers"
        )
    tokens = int(best.num_visual_tokens.max())
    wanted = trim_to_budget(geometry, best.mean_removed(tokens), tokens, reduction)
    removed = round_to_budget(geometry, wanted, tokens, reduction, range(first, geometry.num_layers))
    return PruningRecipe(
        model=model_name(model),
        num_layers=geometry.num_layers,
        num_visual_tokens=tokens,
        reduction=reduction,
        achieved_reduction=visual_reduction(geometry, removed, tokens),
        removed=removed,
        alpha=best.alpha,
        num_samples=len(pairs),
        procedure="sequential",
        attention=attention,
        image_aspect=image_aspect(model.config, processor),
        source=f"fitted by {len(trials)} runs of the pruned model over {len(pairs)} {plural('sample', len(pairs))}",
    )


class _Prompts(Iterable[Any]):
    """(picture, question) pairs as the model's inputs, made anew each time, since all pictures at once are large."""

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, pairs: Sequence) -> None:
        self.model, self.processor, self.pairs = model, processor, pairs

    def __iter__(self) -> Iterator[Any]:
        for picture, question in self.pairs:
            asked = as_asked(self.model, self.processor, picture, question, longest=LONGEST_OF_DATA)
            yield asked.inputs.to(self.model.device)


def search(
    model: PreTrainedModel,
    inputs: Iterable[Any],
    reduction: float,
    *,
    attention: str = "both",
    cost: DecoderGeometry | None = None,
) -> Iterator[Trial]:
    """Bisect alpha on prompts that are prepared already; see `fit_recipe_sequential`. Yields every trial in turn.

    inputs: what `build_inputs` makes, one prompt each, on the model's device; gone through once for every alpha, so
    no iterator. Where no alpha of the grid meets the budget, the last trial is 1, which drops everything.
    """
    geometry = cost or DecoderGeometry.from_config(model.config)
    kinds = {"both": [0, 1], "self": [0], "cross": [1]}[attention]
    received = [observe(model, prompt)[0][0] for prompt in inputs]
    tokens = np.array([values.shape[2] for values in received])
    check_reachable(geometry, int(tokens.max()), reduction)
    totals = [values[kinds].sum(axis=2, dtype=np.float64) for values in received]

    def trial(alpha: float) -> Trial:
        pairs = zip(inputs, totals, strict=True)
        removed = np.array([_removed_by_walk(model, prompt, kinds, total, alpha) for prompt, total in pairs])
        return _stopped(alpha, removed, tokens, geometry, reduction)

    low, high = 0.0, 1.0
    while high - low > TRIAL_TOLERANCE:
        tried = trial((low + high) / 2)
        yield tried
        low, high = (low, tried.alpha) if tried.meets else (tried.alpha, high)
    if high == 1.0:
        yield trial(1.0)


class _WalkPrompt(PrunedPrompt):
    """A prompt that loses at every layer what the rule of the fit takes, however many tokens that is.

    totals: attention of each kind (0: self, 1: cross) that all visual tokens received in the unpruned run, float64
    (kinds, layers). first: the first layer that may drop.
    """

    def __init__(self, *arguments: Any, kinds: list[int], totals: np.ndarray, alpha: float, first: int) -> None:
        super().__init__(*arguments)
        # No layer that may drop passes the rule by; how many tokens it takes is seen there.
        self.counts = [0] * first + [1] * (len(self.counts) - first)
        self.kinds, self.totals, self.alpha = kinds, totals, alpha

    def choose(self, layer: int, attended: Attended) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PrunedPrompt.choose`, for one prompt: the tokens in the low runs of all kinds."""
        if not self.visual.shape[1]:
            nothing = self.visual.new_zeros(1, 0)
            return nothing, nothing
        received_by_kind = self.attention_of(0, attended).self_and_cross()
        low = torch.ones(self.visual.shape[1], dtype=torch.bool, device=attended.query.device)
        for kind, total in zip(self.kinds, self.totals[:, layer], strict=True):
            ascending = received_by_kind[kind].double().sort(stable=True)
            left = ascending.values.sum() - ascending.values.cumsum(0)
            length = int((left >= total - self.alpha * total).sum())
            low[ascending.indices[length:]] = False
        return low.nonzero().T, (~low).nonzero().T


def _removed_by_walk(
    model: PreTrainedModel, prompt: Any, kinds: list[int], totals: np.ndarray, alpha: float
) -> list[int]:
    """Visual tokens that one prompt loses at each layer of `model`, at `alpha`, if it is never told to stop."""
    num_layers = totals.shape[1]
    # The recipe says only where dropping may begin.
    first = family_of(model.config).first_drop_layer(model.config)
    removed = (0,) * first + (1,) * (num_layers - first)
    anywhere = PruningRecipe(model_name(model), num_layers, num_layers, 0.5, 0.5, removed)
    make_prompt = partial(_WalkPrompt, kinds=kinds, totals=totals, alpha=alpha, first=first)
    with pruned(model, anywhere, FitPrune(), make_prompt) as trace, torch.no_grad():
        model.model(**prompt, use_cache=False)
    return [dropped.shape[0] for dropped in trace.dropped]


def _stopped(
    alpha: float, removed: np.ndarray, tokens: np.ndarray, geometry: DecoderGeometry, reduction: float
) -> Trial:
    """The walks of all samples, (samples, layers), stopped at the layer after which the budget is met by all together.

    As the authors do, FLOPs are added up over the samples, and no sample goes on when the sum is small enough.
    """
    layers = np.tri(geometry.num_layers, dtype=np.int64)
    # Row l of a sample: what it saves if it stops after layer l.
    saved = np.array([saved_share(geometry, one * layers, count) for one, count in zip(removed, tokens, strict=True)])
    full = [visual_flops(geometry, (0,) * geometry.num_layers, int(count)) for count in tokens]
    meets = np.average(saved, axis=0, weights=np.array(full, dtype=np.float64)) >= reduction
    last = int(np.argmax(meets)) if meets.any() else geometry.num_layers - 1
    return Trial(alpha, bool(meets.any()), removed * layers[last], tokens)
