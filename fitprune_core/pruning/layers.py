"""What stands in for the layers of a decoder while visual tokens go: from the first that drops, each has its own rows.

Layers that drop nothing run transformers' own forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from fitprune_core.models.decoder import DecoderLayer, attend
from fitprune_core.pruning.caches import PrunedCaches
from fitprune_core.pruning.prompt import PrunedPrompt, PruningTrace, take_rows
from fitprune_core.pruning.shortened import report_whole_length


@dataclass
class Call:
    """One call of the model that is running.

    Attributes:
        prompt: whose rows these are; None where nothing is to be done.
        is_prefill: whether the call brings the prompt.
        padding: the 2-D attention mask of the whole sequence so far, or None.
        trace: where drops are noted.
        caches: those of the block; the first layer that drops adds the call's.
        text_config: the decoder's configuration.
        asked: `logits_to_keep`, where it is told in positions of a prompt that loses rows.
    """

    prompt: PrunedPrompt | None
    is_prefill: bool
    padding: torch.Tensor | None
    trace: PruningTrace
    caches: PrunedCaches
    text_config: Any
    asked: Any = 0
    masks: dict[int, Any] = field(default_factory=dict)  # by the id of the rows that arrive

    def layer(
        self, index: int, layer: DecoderLayer, original: Callable[..., Any], hidden_states: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        """A decoder layer's forward. hidden_states: (batch, rows that arrive, width)."""
        prompt = self.prompt
        if prompt is None or (not self.is_prefill and kwargs.get("attention_mask") is None):
            return original(hidden_states, **kwargs)
        if self.is_prefill and index == 0 and prompt.count_before:
            hidden_states = self._entering(prompt, hidden_states, kwargs)
        elif self.is_prefill and index == 0 and prompt.method.ranks_by_before and not prompt.chosen:
            prompt.look_before(hidden_states)
        if prompt.arriving[index] is not None:
            self._fit_to_layer(prompt, index, hidden_states, kwargs)
        if not (self.is_prefill and prompt.counts[index]):
            return original(hidden_states, **kwargs)
        if prompt.position_embeddings is None:
            prompt.position_embeddings = kwargs["position_embeddings"]
            if kwargs.get("past_key_values") is not None:
                self.caches.add(kwargs["past_key_values"], prompt)
        return self._dropping_layer(prompt, index, layer, hidden_states, kwargs)

    def _entering(self, prompt: PrunedPrompt, hidden_states: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
        """The rows that are left of a prompt before its first layer. hidden_states: (batch, rows, width)."""
        prompt.position_embeddings, cache = kwargs["position_embeddings"], kwargs.get("past_key_values")
        kept_rows = prompt.drop_before(hidden_states, self.trace)
        if cache is not None:
            self.caches.add(cache, prompt)
            report_whole_length(cache, hidden_states.shape[1] - kept_rows.shape[1])
        return take_rows(hidden_states, kept_rows)

    def _fit_to_layer(
        self, prompt: PrunedPrompt, index: int, hidden_states: torch.Tensor, kwargs: dict[str, Any]
    ) -> None:
        """Replace what transformers made once for all layers by what fits the rows of this one."""
        if kwargs.get("attention_mask") is not None:
            rows = id(prompt.arriving[index])
            if rows not in self.masks:
                self.masks[rows] = prompt.mask_for(
                    index, hidden_states, self.padding, kwargs.get("past_key_values"), self.text_config
                )
            kwargs["attention_mask"] = self.masks[rows]
        if self.is_prefill:
            kwargs["position_embeddings"] = prompt.position_embeddings
            # Gaps between positions would make flash attention look for packed sequences.
            kwargs["position_ids"] = None

    def _dropping_layer(
        self,
        prompt: PrunedPrompt,
        index: int,
        layer: DecoderLayer,
        hidden_states: torch.Tensor,
        kwargs: dict[str, Any],
    ) -> torch.Tensor:
        """A decoder layer that loses rows between its attention and its output projection.

        It follows `LlamaDecoderLayer.forward`; hidden_states: (batch, rows, width) to (batch, fewer rows, width).
        """
        kept_rows: list[torch.Tensor] = []
        attention = layer.self_attn

        def attend_and_drop(hidden_states: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
            output, weights, attended = attend(attention, hidden_states, **kwargs)
            kept_rows.append(prompt.drop(index, attended, self.trace))
            return attention.o_proj(take_rows(output, kept_rows[-1])), weights

        # Called as a module, for the hooks that others may have put on it.
        own, theirs = vars(attention), vars(attention).get("forward")
        own["forward"] = attend_and_drop
        try:
            attended, _ = attention(hidden_states=layer.input_layernorm(hidden_states), **kwargs)
        finally:
            del own["forward"]
            if theirs is not None:
                own["forward"] = theirs
        hidden_states = take_rows(hidden_states, kept_rows[-1]) + attended
        return hidden_states + layer.mlp(layer.post_attention_layernorm(hidden_states))
