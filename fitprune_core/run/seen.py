"""What the vision tower makes of the pictures of a batch, for answers to it in several ways: the tower runs once."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from transformers import BatchFeature, PreTrainedModel

# What `generate` and the models themselves call pixels and what was made of them.
_PIXELS, _FEATURES = "pixel_values", "mm_encoder_outputs"


class Seen:
    """The pictures of one batch, as the model's tower and projector make tokens of them.

    An object serves one batch of one model: it does not look whether another one comes.
    """

    def __init__(self) -> None:
        self._features: Any = None

    def in_place_of_pixels(self, model: PreTrainedModel, inputs: BatchFeature) -> BatchFeature:
        """The batch with its pictures as features, as `generate` itself makes them of pixels; they are made when first
        asked for. A batch without pictures, or for a model that takes no features, stays as it is.

        inputs: of the batch, on the model's device. The model must be this thread's, outside a block that prunes it.
        """
        if _PIXELS not in inputs or _FEATURES not in inspect.signature(model.forward).parameters:
            return inputs
        if self._features is None:
            wanted = inspect.signature(model.model.get_image_features).parameters
            given = {name: values for name, values in inputs.items() if name in wanted}
            found = model.model.get_image_features(**given, return_dict=True)
            # What each of the tower's layers gave is in them, and would be held as long as they are.
            self._features = replace(found, hidden_states=None, attentions=None)
        others = {name: values for name, values in inputs.items() if name != _PIXELS}
        return BatchFeature({**others, _FEATURES: {"image": self._features}})
