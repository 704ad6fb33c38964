"""One token of an answer under a lens: what else might have come there in two ways, and where each of them looked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from fitprune_core.models.decoder import decoder_layers, query_and_key
from fitprune_core.models.exclusive import exclusive_use, free_model
from fitprune_core.models.family import visual_mask
from fitprune_core.models.memory import with_memory_explained
from fitprune_core.pruning.attention import products, without_autocast
from fitprune_core.pruning.prompt import PruningTrace
from fitprune_core.run.answer import Way
from fitprune_core.run.next_tokens import distribution_of, divergence, likeliest, margin, read_up_to
from fitprune_core.run.request import Request

SHOWN = 5  # next tokens that are told of each way


@dataclass(frozen=True)
class Sight:
    """What one way makes of the words so far.

    Attributes:
        likeliest: the likeliest next tokens, first to last: text, id and probability.
        margin: how much likelier the first is than the second, 0 to 1.
        attention: of the row that chooses the next token, the share that goes to each visual token, mean over heads;
            float32 (layers, visual tokens), NaN for a token that does not reach the layer. The rest goes to text.
    """

    likeliest: tuple[tuple[str, int, float], ...]
    margin: float
    attention: np.ndarray


@dataclass(frozen=True)
class Looked:
    """What two ways make of the same words. divergence: of their next tokens, Jensen-Shannon, in bits, 0 to 1."""

    token_ids: tuple[int, ...]
    sights: tuple[Sight, Sight]
    divergence: float


def look(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    image: Image.Image,
    question: str,
    ways: tuple[Way, Way],
    token_ids: Sequence[int] = (),
) -> Looked:
    """Look at the token that follows a question and an answer's first tokens, in two ways.

    token_ids: the answer so far, the same for both ways. The model is held meanwhile. Raises ValueError for a question,
    picture or recipe that cannot be, for what is no token, and inside a block that prunes the model; MemoryError; and
    whatever the model raises.
    """
    model, tokenizer = free_model(model), processor.tokenizer
    if any(not 0 <= token < model.config.text_config.vocab_size for token in token_ids):
        raise ValueError(f"an answer's tokens are numbers from 0 to {model.config.text_config.vocab_size - 1}")
    request = Request(model, processor, image, question, ways, len(token_ids) + 1)

    def work() -> list[tuple[np.ndarray, np.ndarray]]:
        return [_sight(model, request.inputs, way, token_ids) for way in ways]

    found = with_memory_explained(work, model.device, request.describe())

    def named(token: int) -> str:
        return tokenizer.decode([token]) if token not in tokenizer.all_special_ids else ""

    def sight(next_one: np.ndarray, attention: np.ndarray) -> Sight:
        first = tuple((named(token), token, share) for token, share in likeliest(next_one, SHOWN))
        return Sight(first, margin(next_one), attention)

    (one, *_), (other, *_) = found
    return Looked(tuple(token_ids), (sight(*found[0]), sight(*found[1])), divergence(one, other))


def _sight(
    model: PreTrainedModel, prompt: BatchFeature, way: Way, token_ids: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The distribution of the next token, and the attention as in `Sight`."""
    with exclusive_use(model), torch.no_grad(), way.applied_to(model) as trace, _last_rows(model) as rows:
        distribution = distribution_of(read_up_to(model, prompt, token_ids))
        is_visual = visual_mask(model.config, prompt["input_ids"])[0].cpu()
        return distribution, np.stack([_on_visual(rows[at], at, is_visual, trace) for at in range(len(rows))])


@contextmanager
def _last_rows(model: PreTrainedModel) -> Iterator[dict[int, torch.Tensor]]:
    """By layer what the last row of the model's latest call gives to all rows so far, mean over heads, (rows,)."""
    rows: dict[int, torch.Tensor] = {}
    handles = [
        layer.self_attn.register_forward_hook(_note_in(rows), with_kwargs=True) for layer in decoder_layers(model)
    ]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


def _note_in(rows: dict[int, torch.Tensor]) -> Callable[..., None]:
    def note(attention: Any, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        cos, sin = kwargs["position_embeddings"]
        query, key = query_and_key(attention, hidden, (cos, sin))
        cache = kwargs.get("past_key_values")
        keys = key if cache is None else cache.layers[attention.layer_idx].keys
        with without_autocast(query.device):
            logits = products(query[0, :, -1:], keys[0].float().transpose(1, 2)) * attention.scaling
        rows[attention.layer_idx] = torch.softmax(logits, dim=-1).mean(dim=(0, 1)).cpu()

    return note


def _on_visual(row: torch.Tensor, layer: int, is_visual: torch.Tensor, trace: PruningTrace | None) -> np.ndarray:
    """What a row of attention gives to each visual token, (visual tokens,), NaN where one does not reach the layer.

    is_visual: (prompt rows,) bool. What the layer itself drops it still attends to.
    """
    places = is_visual.nonzero()[:, 0]
    arriving = torch.arange(len(places), device=places.device)
    if trace is not None:
        before = trace.kept[layer - 1] if layer else trace.kept_before
        arriving = arriving if before is None else before.cpu()
    is_there = ~is_visual
    is_there[places[arriving]] = True
    found = torch.full((len(places),), torch.nan, device=row.device)
    found[arriving] = row[is_there.cumsum(0)[places[arriving]] - 1]
    return found.numpy()
