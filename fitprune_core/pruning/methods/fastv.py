"""FastV's choice."""

from __future__ import annotations

from dataclasses import dataclass

from fitprune_core.pruning.methods.last_token import LastToken


@dataclass(frozen=True)
class FastV(LastToken):
    """Attention received from the prompt's last token, mean over heads (arXiv 2403.06764).

    FastV prunes once; here it ranks, and the recipe says how many go at which layer.
    """

    name = "fastv"
