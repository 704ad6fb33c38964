"""Labels and logits of a prompt that lost rows, told by the positions of the prompt as it was given.

Text is never dropped, so whatever is asked of it is that of a plain model from which the dropped columns are hidden. A
visual token that was dropped has no logits, and is refused.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel


def select_rows(hidden_states: torch.Tensor, asked: int | torch.Tensor, left: torch.Tensor, length: int):
    """The rows of the last layer that `logits_to_keep` asks for, as `transformers.modeling_utils.slice_logits_to_keep`.

    hidden_states: (batch, rows left, width). asked: how many of the last positions, 0 for all that are left; or
    positions, (count,) or (batch, count); or a bool mask, (length,) or (batch, length). left: positions of the rows
    that are left, ascending, (batch, rows left), of a prompt of `length`. Returns (batch, count, width), for a mask of
    two dimensions (1, true values, width). Raises ValueError for a position that was dropped, or is not there.
    """
    if isinstance(asked, torch.Tensor) and asked.dtype == torch.bool and asked.dim() == 2:
        asked = asked.to(left.device)
        rows = asked.gather(1, left)
        if int(rows.sum()) < int(asked.sum()):
            _refuse(asked.scatter(1, left, torch.zeros_like(rows)).nonzero()[0, 1])
        return hidden_states[rows][None]
    if not isinstance(asked, torch.Tensor):
        if asked == 0:
            return hidden_states
        asked = torch.arange(length, device=left.device)[-asked:]
    positions = asked.to(left.device)
    if positions.dtype == torch.bool:
        positions = positions.nonzero()[:, 0]
    outside = positions[(positions < -length) | (positions >= length)]
    if outside.numel():
        raise ValueError(f"logits_to_keep asks for position {int(outside[0])} of a prompt of {length} tokens")
    positions = (positions % length).expand(left.shape[0], -1).contiguous()
    rows = torch.searchsorted(left.contiguous(), positions).clamp(max=left.shape[1] - 1)
    missing = positions[left.gather(1, rows) != positions]
    if missing.numel():
        _refuse(missing[0])
    return torch.take_along_dim(hidden_states, rows[..., None], dim=1)


def labels_of_rows(labels: torch.Tensor, left: torch.Tensor, length: int, ignore_index: int, shifted: bool = False):
    """Labels of the rows that are left, (batch, rows left), for a loss that lets each row predict the next one.

    labels: (batch, length). A row's own label is the token behind it in the prompt as it was given, whatever row comes
    next now, so the labels are put where the loss will find them. shifted: they stand with the row that predicts them
    already (`shift_labels`), and stay there. Raises ValueError for a label that a dropped token has, or would predict.
    """
    batch = left.shape[0]
    if labels.shape != (batch, length):
        name = "shift_labels" if shifted else "labels"
        raise ValueError(f"{name} has shape {tuple(labels.shape)}; this prompt needs ({batch}, {length})")
    labels = labels.to(left.device)
    dropped = torch.ones_like(labels, dtype=torch.bool).scatter(1, left, torch.zeros_like(left, dtype=torch.bool))
    nothing = labels.new_full((batch, 1), ignore_index)
    predicted = labels if shifted else torch.cat([labels[:, 1:], nothing], dim=1)
    if not shifted and (labels[dropped] != ignore_index).any():
        position = int((dropped & (labels != ignore_index)).nonzero()[0, 1])
        raise ValueError(
            f"position {position} has a label, but the visual token there was dropped; it needs {ignore_index}"
        )
    if (predicted[dropped] != ignore_index).any():
        position = int((dropped & (predicted != ignore_index)).nonzero()[0, 1])
        raise ValueError(
            f"the label of position {position + 1} would be predicted from position {position}, whose visual token was "
            f"dropped; give the first token behind an image the label {ignore_index}"
        )
    kept = predicted.gather(1, left)
    return kept if shifted else torch.cat([nothing, kept[:, :-1]], dim=1)


def loss_of(model: PreTrainedModel, logits: torch.Tensor, labels: dict[str, Any], options: dict[str, Any]):
    """The model's own loss. labels: `labels` and, where given, `shift_labels`; options: what else was given."""
    given = {name: value for name, value in labels.items() if value is not None}
    vocabulary = model.config.text_config.vocab_size
    return model.loss_function(logits=logits, vocab_size=vocabulary, **given, **options)


def _refuse(position: torch.Tensor) -> None:
    raise ValueError(
        f"the logits of position {int(position)} were asked for, but the visual token there was dropped; ask for "
        "positions of text, or of visual tokens that were kept (trace.positions)"
    )
