"""How an answer is generated, as one checked thing: its length, what chooses its tokens, what ends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fitprune_core.checks.numbers import whole

# Further settings of a checkpoint's generation_config that make another token win than the likeliest, or sampling draw
# from other tokens (transformers' `_get_logits_processor`). Some penalise repetition.
_CHANGES_LOGITS = (
    "repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
    "min_new_tokens", "bad_words_ids", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens",
    "begin_suppress_tokens", "sequence_bias", "exponential_decay_length_penalty", "guidance_scale",
    "watermarking_config", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
)  # fmt: skip

# Settings that shorten the answer silently, generate it differently, or return more than was asked for.
_CHANGES_WAY = (
    "max_time", "stop_strings", "penalty_alpha", "dola_layers", "constraints", "force_words_ids", "num_beam_groups",
    "diversity_penalty", "prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp", "cache_implementation",
    "cache_config", "prefill_chunk_size", "compile_config", "output_attentions", "output_hidden_states",
    "output_scores", "output_logits",
)  # fmt: skip


@dataclass(frozen=True)
class Decoding:
    """Options of one answer. As they stand they are greedy.

    Attributes:
        max_new_tokens: longest answer.
        num_beams: beams; 1 is no beam search.
        temperature: above 0 to sample, None to take the likeliest token.
        top_p, top_k: what sampling chooses from; None for everything.
        until: the answer ends before the first of these.

    Raises ValueError for what is no whole number from 1 up where it should be.
    """

    max_new_tokens: int = 64
    num_beams: int = 1
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    until: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "num_beams"):
            object.__setattr__(self, name, whole(name, getattr(self, name), 1))

    @property
    def is_greedy(self) -> bool:
        """Whether each token is the likeliest one: then an answer depends on nothing but its prompt."""
        return self.temperature is None and self.num_beams == 1

    def arguments(self) -> dict[str, Any]:
        """Arguments of `model.generate`. What is None or 0 here would otherwise be as the checkpoint has it."""
        return {
            **dict.fromkeys((*_CHANGES_LOGITS, *_CHANGES_WAY)),
            "use_cache": True,
            "token_healing": False,
            "num_return_sequences": 1,
            "min_length": 0,
            "max_new_tokens": self.max_new_tokens,
            "num_beams": self.num_beams,
            "do_sample": self.temperature is not None,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
        }

    def cut(self, text: str) -> str:
        """The answer before the first stop string, without white space around it."""
        for stop in self.until:
            text = text.partition(stop)[0]
        return text.strip()
