"""VisionZip's dominant tokens: before the decoder, those that the vision tower itself looks at."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fitprune_core.pruning.methods.base import Candidates
from fitprune_core.pruning.methods.before import ChosenBefore


@dataclass(frozen=True)
class VisionZipDominant(ChosenBefore):
    """The tokens that receive most attention from the class token in the tower's layer that the model reads, mean over
    heads; in towers without a class token, from the mean patch (arXiv 2412.04467).

    Only the paper's dominant tokens: it merges the rest into a few contextual ones, which is not done here, and it adds
    the class token, which a model that does not read it has no place for. How many stay is solved for, so that as much
    is saved as the recipe would save for the picture; where whole tokens do not meet that, single tokens go inside the
    decoder, by the same ranking. A newline of LLaVA-NeXT and LLaVA-OneVision ranks as the mean of its line. Defined
    where visual tokens are patches of one layer of CLIP or SigLIP; other models are refused.
    """

    name = "visionzip-dominant"
    paper = "arXiv 2412.04467"
    scores_before = "tower"

    def importance_before(self, features: torch.Tensor, candidates: Candidates) -> torch.Tensor:
        return candidates.received_in_tower()
