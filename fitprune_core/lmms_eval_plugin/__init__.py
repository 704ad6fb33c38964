"""FitPrune as a model of lmms-eval, the benchmark runner: `python -m lmms_eval --model fitprune_llava ...`.

lmms-eval finds `manifest` through the entry point group `lmms_eval.models` of this package's metadata. Only `model`
imports lmms-eval; arguments, prompts, generation options and sums are plain Python.
"""

from __future__ import annotations

from typing import Any

MODEL_NAME = "fitprune_llava"


def manifest() -> Any:
    """What lmms-eval's registry asks an entry point for: the name of the model and where its class is."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=MODEL_NAME, simple_class_path=f"{__name__}.model.FitPruneLlava")
