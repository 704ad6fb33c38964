"""FitPrune for LLaVA: fit how many visual tokens each layer can lose, then drop them while the model runs.

The public names below stay stable. Importing the package loads neither torch nor a model: each name is fetched from its
module at first use.
"""

from __future__ import annotations

import importlib

_HOME = {
    "load_model": "models.loading",
    "build_inputs": "models.prompts",
    "model_name": "models.loading",
    "describe_device": "models.devices",
    "collect_statistics": "calibration.observe",
    "AttentionStatistics": "recipes.statistics",
    "fit_recipe": "recipes.fit",
    "fit_recipe_sequential": "calibration.sequential",
    "PruningRecipe": "recipes.recipe",
    "prune_visual_tokens": "pruning.context",
    "PruningTrace": "pruning.prompt",
    "METHODS": "pruning.methods",
    "VisualLayout": "models.layout",
    "visual_layout": "models.layout",
    "visual_reduction": "cost.decoder",
    "request_flops": "cost.request",
    "compare": "run.comparison",
    "stream_comparison": "run.comparison",
    "Comparison": "run.comparison",
}

__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
