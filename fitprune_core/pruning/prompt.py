"""One prompt on its way through the layers: which of its rows reach each layer, and which visual tokens go where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.masking_utils import create_causal_mask

from fitprune_core.models.decoder import Attended
from fitprune_core.pruning.attention import LayerAttention, Rows, without_autocast
from fitprune_core.pruning.methods import Candidates, Method
from fitprune_core.pruning.methods.registry import is_known
from fitprune_core.pruning.paint import UNPAINTED
from fitprune_core.pruning.tower import TowerAttention
from fitprune_core.recipes.schedules import Drops

# Where `PrunedPrompt.chosen` and what follows from it keep the drop before the first layer.
BEFORE = -1


@dataclass
class PruningTrace:
    """What happened to the visual tokens of the latest prompt; tokens are numbered 0, 1, ... in the image's order.

    Attributes:
        num_visual_tokens: visual tokens in the prompt; 0 for a prompt of text.
        kept: for each layer the tokens that leave it, ascending, LongTensor (count,).
        dropped: for each layer the tokens that it drops, least important first, LongTensor (count,).
        kept_before, dropped_before: the same of what is dropped before the first layer; None where nothing is.
        positions: where the rows that the last layer leaves stood in the prompt, ascending, LongTensor (rows,): row r
            of `logits` belongs to position `positions[r]`. None until a prompt has run.

    For a batch of several prompts every tensor is (batch, count). Both lists are empty until a prompt has run.
    """

    num_visual_tokens: int = 0
    kept: list[torch.Tensor] = field(default_factory=list)
    dropped: list[torch.Tensor] = field(default_factory=list)
    kept_before: torch.Tensor | None = None
    dropped_before: torch.Tensor | None = None
    positions: torch.Tensor | None = None

    def start(self, is_visual: torch.Tensor, num_visual_tokens: int, num_layers: int) -> None:
        """Begin with all rows of a prompt at every layer. is_visual: (batch, length) bool, equally many in each."""
        batch, length = is_visual.shape
        rows = torch.arange(length, device=is_visual.device).expand(batch, -1)
        tokens, self.positions = rows[:, :num_visual_tokens], _squeeze(rows)
        self.num_visual_tokens = num_visual_tokens
        self.kept = [_squeeze(tokens)] * num_layers
        self.dropped = [_squeeze(tokens[:, :0])] * num_layers
        self.kept_before = self.dropped_before = None

    def drop_before(self, kept: torch.Tensor, dropped: torch.Tensor) -> None:
        """Record what is dropped before the first layer."""
        self.kept = [_squeeze(kept)] * len(self.kept)
        self.kept_before, self.dropped_before = _squeeze(kept), _squeeze(dropped)

    def drop(self, layer: int, kept: torch.Tensor, dropped: torch.Tensor) -> None:
        """Record what `layer` drops, and what is left for it and every layer after it."""
        self.kept[layer:] = [_squeeze(kept)] * (len(self.kept) - layer)
        self.dropped[layer] = _squeeze(dropped)

    def finish(self, rows: torch.Tensor) -> None:
        """Record which rows are left in the end, (batch, rows)."""
        self.positions = _squeeze(rows)


class Prompt:
    """Where the visual tokens and the text after them stand, in a batch of prompts with equally many visual tokens.

    `visual`: the rows of the visual tokens, LongTensor (batch, count), ascending; `real`: for each sample the rows that
    are no padding; `text_after`: for each sample how many text tokens follow its last visual token.

    Raises ValueError for a prompt without text after its image, and a mask with holes or that hides visual tokens.
    """

    def __init__(self, is_visual: torch.Tensor, padding: torch.Tensor | None) -> None:
        """is_visual: (batch, length) bool, which ids stand for the image; padding: the 2-D attention mask, if any."""
        batch, self.length = is_visual.shape
        self.visual = is_visual.nonzero()[:, 1].view(batch, -1)
        self.num_visual_tokens = self.visual.shape[1]
        self.real = real_rows(padding, batch, self.length)
        first, last = self.visual[:, 0].tolist(), self.visual[:, -1].tolist()
        if any(a < real.start or b >= real.stop for a, b, real in zip(first, last, self.real, strict=True)):
            raise ValueError("the attention mask hides visual tokens; give the processor's, which hides padding alone")
        self.text_after = [real.stop - 1 - at for real, at in zip(self.real, last, strict=True)]
        if min(self.text_after) < 1:
            raise ValueError("the prompt ends with its image: without text after it no visual token can be scored")
        # One unbroken run of visual tokens stays one: its rows are then a slice, which costs nothing to read.
        unbroken = all(b - a + 1 == self.num_visual_tokens for a, b in zip(first, last, strict=True))
        self.first_visual = first if unbroken else None
        self.numbers = torch.arange(self.length, device=is_visual.device)

    def attention_of(self, sample: int, attended: Attended) -> LayerAttention:
        """What one sample attended with, without its padding, and where its visual tokens and later text stand."""
        real, rows = self.real[sample], attended.query.shape[2]
        end = rows - (self.length - real.stop) - real.start
        own = slice(real.start, real.start + end)
        visual: Rows
        if self.first_visual is None:
            visual = self.visual[sample] - real.start
        else:
            first = self.first_visual[sample] - real.start
            visual = slice(first, first + self.visual.shape[1])
        return LayerAttention(
            query=attended.query[sample, :, own],
            key=attended.key[sample, :, own],
            scaling=attended.scaling,
            visual=visual,
            text_after=slice(end - self.text_after[sample], end),
            normaliser=None if attended.normaliser is None else attended.normaliser[sample, :, own],
        )


class PrunedPrompt(Prompt):
    """The state of one prompt (or batch) that loses visual tokens, from its prefill to its last new token.

    Rows are numbered in the sequence that arrives at the layer at hand, so `visual` shrinks and moves with every drop;
    `tokens`, (batch, count), are the same visual tokens by their numbers in the image.
    """

    def __init__(self, is_visual: torch.Tensor, padding: torch.Tensor | None, drops: Drops, method: Method) -> None:
        """drops: visual tokens to drop, of each sample; method: what chooses them; the rest as for `Prompt`."""
        super().__init__(is_visual, padding)
        self.counts: Sequence[int] = drops.removed
        self.count_before = drops.before
        self.found_before: torch.Tensor | None = None  # importance before the decoder, (batch, all visual tokens)
        self.method = method
        self.tower: TowerAttention | None = None  # for methods that rank by it
        self.paint = UNPAINTED
        self.tokens = torch.arange(self.num_visual_tokens, device=is_visual.device).expand_as(self.visual)
        # Rows of the prompt that arrive at each layer, (batch, rows); None while that is all of them.
        self.arriving: list[torch.Tensor | None] = [None] * len(drops.removed)
        self.position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None
        # By layer, what `choose` chose. A prompt that comes again, with words behind it, is given its first choice.
        self.chosen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.left: torch.Tensor | None = None

    @property
    def rows_left(self) -> torch.Tensor:
        """Rows of the prompt that no layer so far has dropped, ascending, (batch, rows)."""
        if self.left is None:
            return torch.arange(self.length, device=self.visual.device).expand(self.visual.shape[0], -1)
        return self.left

    def check_cache(self, first: int, last: int, padding: torch.Tensor | None) -> None:
        """Raise ValueError if a cache that this prompt filled holds something else by now.

        first, last: rows that its first and its last layer hold. padding: the mask of the whole sequence, or None.
        """
        # Whatever was dropped before the first layer, its cache reports the whole prompt.
        last_arriving = self.arriving[-1]
        filled = [self.length, self.length if last_arriving is None else last_arriving.shape[1]]
        if first < filled[0] or first - last != filled[0] - filled[1]:
            raise ValueError("this cache was cut into its prompt, or its prompt never ran to its end; give it anew")
        batch = self.visual.shape[0]
        if padding is not None and padding.shape[0] != batch:
            raise ValueError(
                f"the attention mask is of {padding.shape[0]} prompts, but this cache was filled by {batch}; prompts "
                "must be repeated before they are pruned"
            )

    def drop(self, layer: int, attended: Attended, trace: PruningTrace) -> torch.Tensor:
        """Choose what `layer` drops, note it in `trace`, and go on without it.

        Returns the rows that stay, ascending, (batch, fewer rows).
        """
        rows = attended.query.shape[2]
        if layer not in self.chosen:
            with torch.no_grad(), without_autocast(attended.query.device):
                self.chosen[layer] = self.choose(layer, attended)
        gone, staying = self.chosen[layer]
        dropped, self.tokens = self.tokens.gather(1, gone), self.tokens.gather(1, staying)
        trace.drop(layer, self.tokens, dropped)
        return self._go_on_with(layer, gone, staying, rows)

    def drop_before(self, hidden_states: torch.Tensor, trace: PruningTrace) -> torch.Tensor:
        """Choose what never reaches the first layer; as `drop`. hidden_states: (batch, rows, width), of all rows."""
        rows = hidden_states.shape[1]
        if BEFORE not in self.chosen:
            with torch.no_grad(), without_autocast(hidden_states.device):
                self.chosen[BEFORE] = self.choose_before(hidden_states)
        gone, staying = self.chosen[BEFORE]
        dropped, self.tokens = self.tokens.gather(1, gone), self.tokens.gather(1, staying)
        trace.drop_before(self.tokens, dropped)
        return self._go_on_with(BEFORE, gone, staying, rows)

    def look_before(self, hidden_states: torch.Tensor) -> None:
        """Find the importance by which layers will drop, where nothing goes before them. hidden_states: of all rows."""
        with torch.no_grad(), without_autocast(hidden_states.device):
            self.found_before = self.importance_before(hidden_states)

    def choose_before(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `choose`, from the rows that would enter the decoder."""
        self.found_before = self.importance_before(hidden_states)
        order = self._order(self.found_before)
        return order[:, : self.count_before], order[:, self.count_before :].sort(dim=1).values

    def importance_before(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Importance before the decoder, (batch, visual tokens)."""
        num_kept = self.num_visual_tokens - self.count_before
        in_tower = None if self.tower is None else self.tower.of_prompts(*self.visual.shape).to(hidden_states.device)
        importance = []
        for sample, visual in enumerate(self.visual):
            seen = None if in_tower is None else in_tower[sample]
            candidates = Candidates(self.tokens[sample], self.num_visual_tokens, num_kept, in_tower=seen)
            importance.append(self._scores(self.method.importance_before(hidden_states[sample, visual], candidates)))
        return torch.stack(importance)

    def choose(self, layer: int, attended: Attended) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions in `visual`, (batch, count): what goes at `layer`, least important first; what stays, ascending."""
        count = self.counts[layer]
        found = [self._importance(layer, sample, attended) for sample in range(attended.query.shape[0])]
        importance = torch.stack(found) if len(found) > 1 else found[0][None]
        order = self._order(importance)
        return order[:, :count], order[:, count:].sort(dim=1).values

    def mask_for(self, layer: int, hidden_states: torch.Tensor, padding: torch.Tensor | None, cache, config):
        """The attention mask of one layer for rows that arrive there now, in the form the model's backend wants.

        transformers makes one mask for all layers, sized by the first; here layers hold different keys. padding: the
        2-D mask of the whole sequence so far, or None.
        """
        arriving = self.arriving[layer]
        if padding is not None and arriving is not None:
            padding = torch.cat([padding.gather(1, arriving), padding[:, self.length :]], dim=1)
        return create_causal_mask(config, hidden_states, padding, cache, layer_idx=layer)

    def _order(self, importance: torch.Tensor) -> torch.Tensor:
        """Positions in `visual`, least important first, (batch, count)."""
        order = importance.argsort(dim=1, stable=True)
        return self.paint.reorder(order, self.tokens) if self.paint else order

    def _importance(self, layer: int, sample: int, attended: Attended) -> torch.Tensor:
        num_kept = self.visual.shape[1] - self.counts[layer]
        tokens = self.tokens[sample]
        before = None if self.found_before is None else self.found_before[sample, tokens]
        candidates = Candidates(tokens, self.num_visual_tokens, num_kept, before)
        return self._scores(self.method.importance(self.attention_of(sample, attended), candidates))

    def _scores(self, found: Any) -> torch.Tensor:
        """What a method found, if it can be ranked: one real number for each token that is there, (count,)."""
        count = self.tokens.shape[1]
        is_ranking = isinstance(found, torch.Tensor) and found.shape == (count,) and not found.is_complex()
        if not is_ranking:
            is_tensor = isinstance(found, torch.Tensor)
            kind = f"{found.dtype} of shape {tuple(found.shape)}" if is_tensor else type(found).__name__
            raise ValueError(f"{self.method.label} must give a tensor of {count} real numbers, one a token, not {kind}")
        # A look at values waits for the device, so those of the library's own methods are trusted.
        if not is_known(self.method) and (missing := int(found.isnan().sum())):
            raise ValueError(f"{self.method.label} gave NaN for {missing} of {count} tokens; each needs a real number")
        return found

    def _go_on_with(self, layer: int, gone: torch.Tensor, staying: torch.Tensor, rows: int) -> torch.Tensor:
        """Leave `gone` behind, of so many rows; returns the rows that stay, ascending, (batch, fewer rows)."""
        if self.first_visual is not None and len(self.first_visual) == 1:
            first, count = self.first_visual[0], staying.shape[1]
            end = first + count + gone.shape[1]
            kept_rows = torch.cat([self.numbers[:first], staying[0] + first, self.numbers[end:rows]])[None]
            # What was dropped lay among the visual rows, so a run without gaps closes up behind its first row.
            self.visual = self.numbers[None, first : first + count]
        else:
            # Dropped rows are numbered past the end, so that sorting leaves the others in order, without a look at
            # values.
            numbers = self.numbers[:rows].repeat(gone.shape[0], 1)
            numbers.scatter_(1, self.visual.gather(1, gone), rows)
            kept_rows = numbers.sort(dim=1).values[:, : rows - gone.shape[1]].contiguous()
            self.visual = torch.searchsorted(kept_rows, self.visual.gather(1, staying))
        arrived = None if layer == BEFORE else self.arriving[layer]
        left = kept_rows if arrived is None else arrived.gather(1, kept_rows)
        self.arriving[layer + 1 :] = [left] * (len(self.arriving) - layer - 1)
        self.left = left
        if self.position_embeddings is not None:
            cos, sin = self.position_embeddings
            if len(cos) < len(kept_rows):  # one for all samples, until each has rows of its own
                cos, sin = (part.expand(len(kept_rows), -1, -1) for part in (cos, sin))
            self.position_embeddings = take_rows(cos, kept_rows), take_rows(sin, kept_rows)
        return kept_rows


def take_rows(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Rows of each sample: (batch, rows, width) and (batch, fewer rows) to (batch, fewer rows, width)."""
    if values.shape[0] == 1:
        return values.index_select(1, rows[0])
    return values[torch.arange(values.shape[0], device=values.device)[:, None], rows]


def real_rows(padding: torch.Tensor | None, batch: int, length: int) -> list[slice]:
    """The run of real tokens of each sample of a 2-D attention mask. Raises ValueError for a mask with holes."""
    if padding is None:
        return [slice(0, length)] * batch
    if padding.shape != (batch, length):
        raise ValueError(
            f"the attention mask has shape {tuple(padding.shape)}; a prompt of this batch needs ({batch}, {length})"
        )
    real = padding.bool()
    if real.all():
        return [slice(0, length)] * batch
    counts = real.sum(dim=1).tolist()
    starts = real.int().argmax(dim=1).tolist()
    ends = (length - real.flip(1).int().argmax(dim=1)).tolist()
    if any(end - start != count for start, end, count in zip(starts, ends, counts, strict=True)):
        raise ValueError("the attention mask leaves out tokens inside a prompt; only padding at its ends can be masked")
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]


def _squeeze(tokens: torch.Tensor) -> torch.Tensor:
    return tokens[0] if tokens.shape[0] == 1 else tokens
