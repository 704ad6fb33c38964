"""FitPrune for LLaVA: fit how many visual tokens each layer can lose, then drop them while the model runs.

The public names below stay stable. Importing the package loads neither torch nor a model: each name is fetched from its
module at first use.
"""

from __future__ import annotations

import importlib

_HOME = {
    "load_model": "loading",
    "build_inputs": "loading",
    "model_name": "loading",
    "describe_device": "backends",
    "collect_statistics": "statistics",
    "AttentionStatistics": "statistics",
    "fit_recipe": "fitting",
    "fit_recipe_sequential": "sequential",
    "PruningRecipe": "recipe",
    "prune_visual_tokens": "pruning",
    "PruningTrace": "pruning",
    "METHODS": "methods",
    "VisualLayout": "visual_tokens",
    "visual_layout": "visual_tokens",
    "visual_reduction": "flops",
    "request_flops": "flops",
    "compare": "comparison",
    "stream_comparison": "comparison",
    "Comparison": "comparison",
}

__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
