"""What a model thinks as it chooses a token: how likely each next one is, and how far two such distributions differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import BatchFeature, PreTrainedModel

from fitprune_core.models.exclusive import exclusive_use
from fitprune_core.run.answer import Way


def next_token(model: PreTrainedModel, prompt: BatchFeature, way: Way, token_ids: Sequence[int] = ()) -> np.ndarray:
    """The distribution of the token that follows one prompt, and so many tokens of an answer: float64 (vocabulary,).

    The answer's tokens come after the prompt is through, as in generation: nothing of them is pruned.
    """
    with exclusive_use(model), torch.no_grad(), way.applied_to(model):
        return distribution_of(read_up_to(model, prompt, token_ids))


def read_up_to(model: PreTrainedModel, prompt: BatchFeature, token_ids: Sequence[int]) -> torch.Tensor:
    """The logits of the token that follows a prompt and an answer's first tokens, (vocabulary,)."""
    output = model(**prompt.to(model.device), use_cache=bool(token_ids), logits_to_keep=1)
    if token_ids:
        given = torch.tensor([list(token_ids)], device=model.device)
        output = model(input_ids=given, past_key_values=output.past_key_values, use_cache=True, logits_to_keep=1)
    return output.logits[0, -1]


def distribution_of(logits: torch.Tensor) -> np.ndarray:
    """Logits as a distribution, float64."""
    from scipy.special import softmax

    return softmax(logits.double().cpu().numpy())


def likeliest(distribution: np.ndarray, count: int) -> list[tuple[int, float]]:
    """The likeliest tokens, first to last: id and probability."""
    ids = np.argsort(-distribution, kind="stable")[:count]
    return [(int(token), float(distribution[token])) for token in ids]


def margin(distribution: np.ndarray) -> float:
    """How much likelier the likeliest token is than the next: 0 to 1."""
    second, first = np.partition(distribution, -2)[-2:]
    return float(first - second)


def divergence(one: np.ndarray, other: np.ndarray) -> float:
    """Jensen and Shannon's divergence of two distributions, in bits: 0 for equal ones, 1 for none in common."""
    from scipy.spatial.distance import jensenshannon

    # Rounding may bring that of equal distributions below 0, whose root is no number.
    return float(np.nan_to_num(jensenshannon(one, other, base=2))) ** 2
