"""FitPrune: fit how many visual tokens each layer can lose, then drop them while the model runs.

The public names below stay stable. Importing the package loads neither torch nor a model: each name is fetched from its
module at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # What `__getattr__` fetches, for type checkers; a test holds the two lists together.
    from fitprune_core.calibration.calibration import calibrate as calibrate
    from fitprune_core.calibration.observe import collect_statistics as collect_statistics
    from fitprune_core.calibration.sequential import fit_recipe_sequential as fit_recipe_sequential
    from fitprune_core.cost.decoder import DecoderGeometry as DecoderGeometry
    from fitprune_core.cost.decoder import layer_visual_flops as layer_visual_flops
    from fitprune_core.cost.decoder import tokens_per_layer as tokens_per_layer
    from fitprune_core.cost.decoder import visual_reduction as visual_reduction
    from fitprune_core.cost.request import request_flops as request_flops
    from fitprune_core.evaluation.evaluation import evaluate as evaluate
    from fitprune_core.models.devices import describe_device as describe_device
    from fitprune_core.models.layout import VisualLayout as VisualLayout
    from fitprune_core.models.layout import visual_layout as visual_layout
    from fitprune_core.models.loading import MINI_LLAVA as MINI_LLAVA
    from fitprune_core.models.loading import load_model as load_model
    from fitprune_core.models.loading import model_name as model_name
    from fitprune_core.models.options import LoadOptions as LoadOptions
    from fitprune_core.models.prompts import build_inputs as build_inputs
    from fitprune_core.pruning.attention import LayerAttention as LayerAttention
    from fitprune_core.pruning.context import prune_visual_tokens as prune_visual_tokens
    from fitprune_core.pruning.methods import METHODS as METHODS
    from fitprune_core.pruning.methods import Candidates as Candidates
    from fitprune_core.pruning.methods import Method as Method
    from fitprune_core.pruning.prompt import PruningTrace as PruningTrace
    from fitprune_core.recipes.fit import fit_recipe as fit_recipe
    from fitprune_core.recipes.published import RECIPES as RECIPES
    from fitprune_core.recipes.recipe import PruningRecipe as PruningRecipe
    from fitprune_core.recipes.statistics import AttentionStatistics as AttentionStatistics
    from fitprune_core.recipes.store import recipe_for as recipe_for
    from fitprune_core.recipes.store import recipe_source as recipe_source
    from fitprune_core.run.answer import Way as Way
    from fitprune_core.run.comparison import Answered as Answered
    from fitprune_core.run.comparison import Comparison as Comparison
    from fitprune_core.run.comparison import Partial as Partial
    from fitprune_core.run.comparison import Run as Run
    from fitprune_core.run.comparison import compare as compare
    from fitprune_core.run.comparison import stream_comparison as stream_comparison
    from fitprune_core.run.pictures import open_picture as open_picture
    from fitprune_core.run.questions import check_question as check_question
    from fitprune_core.run.results import normalised as normalised
    from fitprune_core.run.sweep import sweep as sweep

# Each public name and the module that it comes from.
_HOME = {
    "open_picture": "run.pictures",
    "check_question": "run.questions",
    "normalised": "run.results",
    "RECIPES": "recipes.published",
    "MINI_LLAVA": "models.loading",
    "layer_visual_flops": "cost.decoder",
    "tokens_per_layer": "cost.decoder",
    "DecoderGeometry": "cost.decoder",
    "Run": "run.comparison",
    "Partial": "run.comparison",
    "Answered": "run.comparison",
    "Way": "run.answer",
    "LoadOptions": "models.options",
    "load_model": "models.loading",
    "build_inputs": "models.prompts",
    "model_name": "models.loading",
    "describe_device": "models.devices",
    "collect_statistics": "calibration.observe",
    "calibrate": "calibration.calibration",
    "AttentionStatistics": "recipes.statistics",
    "fit_recipe": "recipes.fit",
    "fit_recipe_sequential": "calibration.sequential",
    "PruningRecipe": "recipes.recipe",
    "recipe_for": "recipes.store",
    "recipe_source": "recipes.store",
    "prune_visual_tokens": "pruning.context",
    "PruningTrace": "pruning.prompt",
    "METHODS": "pruning.methods",
    "Method": "pruning.methods",
    "Candidates": "pruning.methods",
    "LayerAttention": "pruning.attention",
    "VisualLayout": "models.layout",
    "visual_layout": "models.layout",
    "visual_reduction": "cost.decoder",
    "request_flops": "cost.request",
    "compare": "run.comparison",
    "stream_comparison": "run.comparison",
    "Comparison": "run.comparison",
    "sweep": "run.sweep",
    "evaluate": "evaluation.evaluation",
}

__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
