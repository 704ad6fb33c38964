"""The pruning recipe: how many visual tokens each layer of one model drops, and where those counts come from."""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate, pairwise
from typing import Any

from fitprune_core.checks.files import read_json, write_whole
from fitprune_core.checks.numbers import whole
from fitprune_core.checks.words import named, shown
from fitprune_core.cost.decoder import LARGEST_SIZE, check_removed, visual_reduction

SCHEMA = 1
PROCEDURES = ("statistics", "sequential", "published")
ATTENTIONS = ("both", "self", "cross")
IMAGE_ASPECTS = ("crop", "pad", "stretch", "anyres", "native")


@dataclass(frozen=True)
class PruningRecipe:
    """How many visual tokens each decoder layer drops (arXiv 2409.10197, section 3), checked when it is made.

    Attributes:
        model: name of the checkpoint that the counts were fitted on.
        num_layers: its decoder layers; the length of `removed`.
        num_visual_tokens: visual tokens of the pictures that the counts are for.
        reduction: share of visual compute that was asked for, 0 <= reduction < 1.
        achieved_reduction: the share that these counts save, as `visual_reduction` counts it.
        removed: visual tokens removed at each layer.
        alpha: bound on the attention that a layer may lose, or None where it is not known.
        num_samples: calibration samples behind the counts, or None where it is not known.
        procedure: "statistics", "sequential" or "published".
        attention: which attention decided: "both", "self" or "cross".
        source: where the counts come from, in words.
        image_aspect: what became of the aspect ratio of the pictures behind the counts: "crop", "pad", "stretch",
            "anyres" or "native", or None where it is not known. Files from before it was recorded do not have it.

    Raises ValueError naming the field and the value that cannot be.
    """

    model: str
    num_layers: int
    num_visual_tokens: int
    reduction: float
    achieved_reduction: float
    removed: tuple[int, ...]
    alpha: float | None = None
    num_samples: int | None = None
    procedure: str = "statistics"
    attention: str = "both"
    source: str = ""
    image_aspect: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ValueError(f"model must be the name of a checkpoint, not {shown(self.model)}")
        if not isinstance(self.source, str):
            raise ValueError(f"source must be a text, not {shown(self.source)}")
        _check_choice("procedure", self.procedure, PROCEDURES)
        check_attention(self.attention)
        if self.image_aspect is not None:
            _check_choice("image_aspect", self.image_aspect, IMAGE_ASPECTS)
        # Plain numbers and a plain tuple, whatever came in, so that recipes compare, hash and print alike.
        for name in ("num_layers", "num_visual_tokens", "num_samples"):
            if name != "num_samples" or self.num_samples is not None:
                object.__setattr__(self, name, whole(name, getattr(self, name), 1, LARGEST_SIZE))
        if isinstance(self.removed, str) or not hasattr(self.removed, "__len__"):
            raise ValueError(f"removed must be a list of whole numbers, one for each layer, not {shown(self.removed)}")
        removed = check_removed(self.removed, self.num_visual_tokens, self.num_layers)
        object.__setattr__(self, "removed", removed)
        object.__setattr__(self, "reduction", check_share("reduction", self.reduction))
        if self.reduction == 0 and any(removed):
            raise ValueError(
                f"reduction is 0, but removed is {shown(list(removed))}; a recipe that removes tokens says which share "
                "of visual compute was asked for"
            )
        object.__setattr__(self, "achieved_reduction", check_share("achieved_reduction", self.achieved_reduction))
        if self.alpha is not None:
            object.__setattr__(self, "alpha", _number(self.alpha))
            if not 0.0 <= self.alpha <= 1.0:
                raise ValueError(
                    f"alpha must be a number from 0 to 1, or null where it is not known, not {shown(self.alpha)}"
                )

    @classmethod
    def empty(cls, num_layers: int, num_visual_tokens: int, model: str) -> PruningRecipe:
        """The recipe that removes nothing."""
        return cls(
            model=model,
            num_layers=num_layers,
            num_visual_tokens=num_visual_tokens,
            reduction=0.0,
            achieved_reduction=0.0,
            removed=(0,) * operator.index(num_layers),
            alpha=0.0,
            source="removes nothing",
        )

    @classmethod
    def from_dict(cls, entries: Any) -> PruningRecipe:
        """A recipe from the object of its JSON file. Raises ValueError naming what is missing or wrong."""
        if not isinstance(entries, dict):
            raise ValueError(f"a recipe is a JSON object, not {type(entries).__name__}")
        if entries.get("schema") != SCHEMA or isinstance(entries.get("schema"), bool):
            found = f"schema is {shown(entries['schema'])}" if "schema" in entries else "it says no schema"
            raise ValueError(f"{found}; this version reads schema {SCHEMA}")
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in entries and name != "image_aspect"]
        if missing:
            raise ValueError(f"the recipe has no {', '.join(missing)}")
        return cls(**{name: entries[name] for name in names if name in entries})

    def to_dict(self) -> dict[str, Any]:
        """The object of the JSON file, in the order of its documentation; `image_aspect` only where it is known."""
        entries = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.image_aspect is None:
            del entries["image_aspect"]
        return {"schema": SCHEMA, **entries, "removed": list(self.removed)}

    @classmethod
    def load(cls, path: str | os.PathLike) -> PruningRecipe:
        """Read a recipe file. Raises ValueError naming the file and what is wrong with it."""
        entries = read_json(path, "recipe")
        if not isinstance(entries, dict) or {"schema", "removed"}.isdisjoint(entries):
            raise ValueError(f"{named(path)} is not a recipe: it has neither schema nor removed, as `fit` writes them")
        try:
            return cls.from_dict(entries)
        except ValueError as error:
            raise ValueError(f"recipe {named(path)}: {error}") from error

    def save(self, path: str | os.PathLike) -> None:
        """Write the recipe as JSON, one field a line; folders are made as needed. A file is replaced whole."""
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in self.to_dict().items()]
        write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")

    @property
    def counts(self) -> str:
        """What the recipe decides, in words: "5 0 12 9 of 36"."""
        return f"{' '.join(map(str, self.removed))} of {self.num_visual_tokens}"

    def scaled_to(self, num_visual_tokens: int, model_config: Any = None) -> PruningRecipe:
        """The same recipe for pictures of another number of visual tokens, by fractions.

        What is scaled and rounded is the removal up to each layer, so that rounding errors do not add up over the
        layers (rounding every layer's own count down, as the authors do, prunes about 1 % too little). The share that
        is saved changes slightly with the token count because attention is quadratic: with `model_config` it is
        counted anew, without it `achieved_reduction` stays that of the recipe that was scaled.
        """
        whole("num_visual_tokens", num_visual_tokens, 1, LARGEST_SIZE)
        if num_visual_tokens == self.num_visual_tokens:
            return self
        ours, theirs = self.num_visual_tokens, operator.index(num_visual_tokens)
        up_to = [0, *((2 * gone * theirs + ours) // (2 * ours) for gone in accumulate(self.removed))]
        removed = tuple(after - before for before, after in pairwise(up_to))
        achieved = self.achieved_reduction
        if model_config is not None:
            achieved = visual_reduction(model_config, removed, theirs)
        note = f"scaled from {ours} to {theirs} visual tokens"
        source = f"{self.source}; {note}" if self.source else note
        return replace(self, num_visual_tokens=theirs, removed=removed, achieved_reduction=achieved, source=source)

    def check_model(self, num_layers: int, model_name: str | None = None) -> None:
        """Raise ValueError if the recipe cannot be for a model of this depth. model_name: for the message."""
        if num_layers != self.num_layers:
            raise ValueError(
                f"the recipe is for {named(self.model)}, which has {self.num_layers} layers; "
                f"{model_name or 'this model'} has {num_layers}"
            )

    def warnings_for(self, model_name: str, image_aspect: str | None = None) -> tuple[str, ...]:
        """What speaks against the recipe for a model, in words: it can be used there, but may be poor.

        That is a recipe of another checkpoint, or from pictures of another aspect. image_aspect: what the model's
        processor makes of a picture, see `layout.image_aspect`; None where it is not known.
        """
        warnings = []
        if not same_checkpoint(model_name, self.model):
            warnings.append(f"the recipe was fitted on {named(self.model)} and is applied to {model_name}")
        if None not in (image_aspect, self.image_aspect) and image_aspect != self.image_aspect:
            warnings.append(
                f"the recipe was fitted on pictures of aspect {shown(self.image_aspect)}; this model gets them as "
                f"{shown(image_aspect)}"
            )
        return tuple(warnings)


# Names that published checkpoints also go by. One with the same architecture but other weights (Mistral or 13B, say) is
# another checkpoint: it has other statistics.
_ALIASES = {
    "llava-v1.5-7b": "llava-1.5-7b",
    "llava-v1.6-7b": "llava-v1.6-vicuna-7b",
    "llava-next-7b": "llava-v1.6-vicuna-7b",
    "llava-hr-7b-1024": "llava-hr-7b-sft-1024",
}


def same_checkpoint(name: str, other: str) -> bool:
    """Whether two names mean one checkpoint: its owner or folder, upper case and a final "-hf" do not matter."""
    return checkpoint_key(name) == checkpoint_key(other)


def checkpoint_key(name: str) -> str:
    """The part of a Hub id or folder that names the checkpoint: "llava-hf/LLaVA-1.5-7b-hf" -> "llava-1.5-7b"."""
    last = str(name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    key = last.casefold().removesuffix("-hf")
    return _ALIASES.get(key, key)


def check_recipe(recipe: Any) -> None:
    """Raise ValueError, saying where recipes come from, for what is none."""
    if not isinstance(recipe, PruningRecipe):
        raise ValueError(
            f"recipe is {shown(recipe)}; it must be a PruningRecipe: recipe_for(model_name, 0.6) fits one to a share, "
            "PruningRecipe.load(path) reads a file"
        )


def check_share(name: str, value: Any) -> float:
    """Return `value` as a float, or raise ValueError: a share is a number from 0 up to, but not including, 1."""
    number = _number(value)
    if not 0.0 <= number < 1.0:
        hint = "; 60 % is written 0.6" if 1.0 <= number <= 100.0 else ""
        raise ValueError(f"{name} must be a share from 0 up to, but not including, 1, not {shown(value)}{hint}")
    return number


def check_attention(attention: Any) -> None:
    """Raise ValueError unless `attention` is a kind of attention that a fit can look at."""
    _check_choice("attention", attention, ATTENTIONS)


def _number(value: Any) -> float:
    """The value as a float; NaN for what is not a number. float() alone would take texts and bools as well."""
    if isinstance(value, (str, bytes, bool)) or not hasattr(value, "__float__"):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {shown(value)}; it must be one of {', '.join(choices)}")
