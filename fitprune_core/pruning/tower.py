"""The attention of the vision tower, noted while it runs inside a block, for methods that rank tokens by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from fitprune_core.cost.tower import class_tokens
from fitprune_core.models.exclusive import StandIn
from fitprune_core.models.family import family_of
from fitprune_core.models.tower_attention import read_attention, received
from fitprune_core.pruning.attention import without_autocast


class TowerAttention:
    """What the visual tokens of the next prompt received in the tower's layer that the model reads.

    The tower may run with the prompt, or before it as in `generate`; what it noted is used for one prompt only.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Raises ValueError for a family whose visual tokens are not patches of one known tower layer."""
        family_of(model).check_tower_attention(model.config)
        self.model = model
        self.attention: Any = read_attention(model)
        self.has_class_token = class_tokens(model.config.vision_config) > 0
        self.projected: dict[str, torch.Tensor] = {}  # queries and keys of the latest run, (views, rows, width)
        self.packed: list[torch.Tensor] = []  # by picture, where the model packs its views

    def replacements(self) -> Iterator[tuple[nn.Module, str, Any]]:
        """What stands in for methods of the model, to look on."""
        for name in ("q_proj", "k_proj"):
            projection = getattr(self.attention, name)
            yield projection, "forward", StandIn(projection.forward, partial(self.note, name))
        whole: Any = self.model.model
        if hasattr(whole, "pack_image_features"):
            yield whole, "pack_image_features", StandIn(whole.pack_image_features, self.pack)

    def forget(self) -> None:
        """Let nothing of an earlier prompt be taken for the next one's."""
        self.projected, self.packed = {}, []

    def check_call(self, kwargs: Mapping[str, Any]) -> None:
        """Refuse features that came from elsewhere, and another layer's. kwargs: of a forward, or of `generate`."""
        given = kwargs.get("mm_encoder_outputs") or {}
        if given.get("image") is not None:
            raise ValueError(
                "mm_encoder_outputs hold a picture's features without the tower's attention, by which its tokens are "
                "ranked here; give pixel_values"
            )
        for name in ("vision_feature_layer", "vision_feature_select_strategy"):
            asked, own = kwargs.get(name), getattr(self.model.config, name)
            if asked is not None and asked != own:
                raise ValueError(f"{name} is {asked!r} in this call; visual tokens are ranked by the model's {own!r}")

    def note(self, name: str, original: Callable[..., torch.Tensor], *args: Any, **kwargs: Any) -> torch.Tensor:
        """The forward of a projection of queries or keys."""
        output = original(*args, **kwargs)
        self.projected[name] = output.detach()
        return output

    def pack(self, original: Callable[..., Any], features: Sequence[torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        """`pack_image_features`, which makes visual tokens of views: what they received goes the same way.

        A newline has no patch; it ranks as the mean of the line that it ends, so that it goes or stays with it.
        """
        views = self.of_views()
        by_picture = views[..., None].split([len(of_picture) for of_picture in features])
        newline = kwargs.get("image_newline")
        in_its_place = None if newline is None else views.new_full((1,), torch.nan)
        scores, _ = original(by_picture, *args, **{**kwargs, "image_newline": in_its_place})
        self.packed = [_with_newlines(of_picture[:, 0], views.shape[1]) for of_picture in scores]
        return original(features, *args, **kwargs)

    def of_views(self) -> torch.Tensor:
        """What the rows that the model reads received in the latest run, float32 (views, rows)."""
        query, key = self.projected["q_proj"], self.projected["k_proj"]
        with torch.no_grad(), without_autocast(key.device):
            scores = received(
                query,
                key,
                heads=self.attention.num_heads,
                scaling=self.attention.scale,
                from_class_token=self.has_class_token,
            )
        if self.has_class_token and self.model.config.vision_feature_select_strategy == "default":
            return scores[:, 1:]
        if self.has_class_token:
            scores[:, 0] = torch.inf  # where the model reads the class token itself it stays, as in the paper
        return scores

    def of_prompts(self, batch: int, count: int) -> torch.Tensor:
        """What the visual tokens of a batch received, (batch, count); asked once for each prompt.

        Raises ValueError where the tower did not run for it.
        """
        if not self.projected:
            raise ValueError("the vision tower did not run for this prompt, so nothing tells how its tokens rank")
        found = torch.cat(self.packed or list(self.of_views()))
        self.forget()
        samples, beside = divmod(len(found), count)
        if beside or batch % samples:
            raise ValueError(f"the vision tower made {len(found)} visual tokens, the prompt has {batch} times {count}")
        # `generate` repeats a prompt for its beams after the tower has run.
        return found.view(samples, count).repeat_interleave(batch // samples, dim=0)


def _with_newlines(scores: torch.Tensor, per_view: int) -> torch.Tensor:
    """Scores of one picture's tokens, NaN at the newlines: theirs are the means of their lines.

    per_view: tokens of the whole view, which come first, without newlines.
    """
    lines = int(scores.isnan().sum())
    if not lines:
        return scores
    # A picture of one view is one line.
    start = per_view if lines > 1 or len(scores) > per_view + 1 else 0
    grid = scores[start:].view(lines, -1)
    grid[:, -1] = grid[:, :-1].mean(dim=1)
    return scores
