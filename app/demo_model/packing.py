"""Many questions about one picture in one sequence: each sees the picture and itself, nothing else.

What is trained is exactly what is asked later (every question is a first turn), and the picture's tokens, most of the
work, are paid for once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from app.demo_model.lookups import ALL_FACTS, NOT_ASKED, OneShape, asked_facts, caption_facts, lookups
from app.demo_model.packed_decoder import PADDING, SHARED, decode
from app.demo_model.questions import describe
from app.demo_model.scenes import Scene
from app.demo_model.text import Encoder


@dataclass
class PackedBatch:
    """B pictures with their questions, padded to T tokens.

    `ids`, `positions`, `segments`, `targets`, `weights`: (B, T). `segments`: 0 the prefix and the picture, 1, 2, ...
    the questions, -1 padding. `targets[b, t]` is the token to predict after t, -100 where nothing is asked;
    `question_of[b, t]` numbers the question that a target belongs to, over the whole batch. `facts`: (B, T, facts) of
    `lookups`, -100 where nothing is asked; `is_late` (B, T) marks the ends of questions, and what comes before a
    character of an answer.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    question_of: torch.Tensor
    facts: torch.Tensor
    is_late: torch.Tensor
    visual_start: int


def pack(
    encoder: Encoder,
    turns: list[list[tuple[str, str]]],
    num_visual: int,
    image_token: int,
    shown: Sequence[Scene | OneShape | None] | None = None,
) -> PackedBatch:
    """`turns[b]`: the (question, answer) pairs of picture b; `shown[b]`: what it shows, to ask for facts.

    A picture that shows nothing that is known is None.
    """
    start = len(encoder.prefix)
    shared = [*encoder.prefix, *[image_token] * num_visual]
    behind = len(shared)
    rows, question = [], 0
    facts: list[tuple[int, int, dict[str, int], bool]] = []
    for row, pairs in enumerate(turns):
        ids, positions = list(shared), list(range(behind))
        segments, targets = [SHARED] * len(shared), [-100] * len(shared)
        weights, owner = [0.0] * len(shared), [-1] * len(shared)
        for segment, (text, answer) in enumerate(pairs, start=1):
            asked, said = encoder.turn(text, answer)
            turn = [*asked, *said[:-1]]
            if shown is not None:
                facts += [
                    (row, len(ids) + at, known, late) for at, known, late in _facts(encoder, shown[row], text, answer)
                ]
            ids += turn
            positions += range(behind, behind + len(turn))
            segments += [segment] * len(turn)
            targets += [-100] * (len(asked) - 1) + list(said)
            weights += [0.0] * (len(asked) - 1)
            weights += [1.0 if token in encoder.characters else len(said) ** -0.5 for token in said]
            owner += [-1] * (len(asked) - 1) + [question] * len(said)
            question += 1
        rows.append((ids, positions, segments, targets, weights, owner))
    length = max(len(row[0]) for row in rows)
    fills = (0, 0, PADDING, -100, 0.0, -1)
    ids, positions, segments, targets, weights, owner = (
        torch.tensor([row[i] + [fill] * (length - len(row[i])) for row in rows]) for i, fill in enumerate(fills)
    )
    asked_of = torch.full((len(rows), length, len(ALL_FACTS)), NOT_ASKED)
    is_late = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, token, known, late in facts:
        is_late[row, token] = late
        for name, value in known.items():
            asked_of[row, token, ALL_FACTS.index(name)] = value
    return PackedBatch(ids, positions, segments, targets, weights, owner, asked_of, is_late, start)


def _facts(
    encoder: Encoder, shown: Scene | OneShape | None, question: str, answer: str
) -> Iterator[tuple[int, dict[str, int], bool]]:
    """(token within the turn, what it should know, whether later) for a question's end, its names and its answer's."""
    asked, said = encoder.asked_text(question), f" {answer}"
    turn, answered = encoder.turn(question, answer)
    behind = len(turn)
    at_end = asked_facts(shown, asked)
    if isinstance(shown, Scene):
        for character, known in lookups(shown, asked):
            yield encoder.token_at(asked, character), known, False
        for character, known in lookups(shown, said):
            yield behind + encoder.token_at(said, character), known, False
        for number, token in enumerate(answered[1:]):
            if token in encoder.characters:
                yield behind + number, {"character": encoder.characters[token]}, True
        if answer == describe(shown):
            at_end, at_commas = caption_facts(shown, said)
            for character, known in at_commas:
                yield behind + encoder.token_at(said, character), known, False
    yield behind - 1, at_end, True


def answer_logits(
    model, batch: PackedBatch, visual: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
    """Logits where something is to be said, where that is, and the states between the decoder's layers.

    `visual`: tower features (B, patches, width of the tower). Returns (answers, vocabulary), a (B, T) mask, and the
    input of every layer, (B, T, width) each.
    """
    decoder, projector = model.model.language_model, model.model.multi_modal_projector
    projected = projector(visual)
    start, stop = batch.visual_start, batch.visual_start + visual.shape[1]
    embedded = decoder.embed_tokens(batch.ids)
    embedded = torch.cat([embedded[:, :start], projected, embedded[:, stop:]], dim=1)
    last, entering = decode(decoder, embedded, batch.positions, batch.segments)
    asked = batch.targets != -100
    return model.lm_head(last[asked]), asked, entering


def right_answers(logits: torch.Tensor, asked: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """One bool a question: would greedy decoding say exactly the true answer (and stop)?

    Under teacher forcing every token being the arg-max is the same as greedy decoding producing that text.
    """
    wrong = logits.argmax(-1) != batch.targets[asked]
    owner = batch.question_of[asked]
    right = torch.ones(int(owner.max()) + 1, dtype=torch.bool)
    right[owner[wrong]] = False
    return right
