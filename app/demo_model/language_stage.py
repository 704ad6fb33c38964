"""Stage 2: the decoder learns to answer and the tower goes on learning, every step on new scenes.

The tower keeps its lesson of stage 1, every patch learning what covers it, and it stays local whatever it is taught
(see `architecture`). A decoder that has finished its training elsewhere can go on with a new tower.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from app.demo_model.architecture import DECODER, VISION, keep_local, patch_features
from app.demo_model.batches import CURRICULUM, Batches, Turns, held_out_questions, phase_at
from app.demo_model.checkpoints import load_state
from app.demo_model.crowded import crowded_scene
from app.demo_model.labels import NOT_ASKED, TARGETS
from app.demo_model.lettering import CHARACTERS
from app.demo_model.lookups import Lessons
from app.demo_model.muon import make_optimizers, step_all, warmup_stable_decay
from app.demo_model.packing import PackedBatch, answer_logits, pack, right_answers
from app.demo_model.pictures_pool import drawn_pool
from app.demo_model.readouts import ReadOuts
from app.demo_model.scenes import random_scene
from app.demo_model.text import Encoder
from app.demo_model.training_loop import learn, train_steps
from app.demo_model.vision_stage import HELD_OUT_SEEDS, dense_loss

MATRIX_SCALE = 0.5
DECAY = 0.3
DENSE_WEIGHT, LESSON_WEIGHT, NAMING_WEIGHT = 0.1, 0.5, 2.0
TOWER_LR = 0.15  # times the decoder's: the tower has learnt, and forgets under larger updates
CHECKPOINT_STEPS = 50


def language_loss(
    model, lessons: Lessons, batch: PackedBatch, features: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The answers' loss, each answer weighted by the root of its length, and that of the lessons.

    features: of the tower, (B, patches, width).
    """
    logits, asked, states = answer_logits(model, batch, features)
    losses = nn.functional.cross_entropy(logits, batch.targets[asked], reduction="none")
    weights = batch.weights[asked]
    return (losses * weights).sum() / weights.sum(), lessons.loss(states, batch.facts, batch.is_late)


def halves_by_length(turns: list[Turns]) -> list[list[int]]:
    """The pictures with little text and those with much: each half is padded to the longest of its own."""
    rows = sorted(range(len(turns)), key=lambda row: sum(len(asked) + len(said) for asked, said in turns[row]))
    middle = len(rows) // 2
    return [half for half in (rows[:middle], rows[middle:]) if half]


def naming_loss(model, features: torch.Tensor, characters: np.ndarray, encoder: Encoder) -> torch.Tensor:
    """How far the projected patches that show a character are from that character's own token: mean cross-entropy.

    features: (B, patches, width of the tower); characters: uint8 (B, patches), as labelled. What is to be said then
    stands in the patch as a word, and reading is copying, one character a patch.
    """
    shown = torch.from_numpy((characters > 0) & (characters != NOT_ASKED))
    if not shown.any():
        return torch.zeros(())
    tokens = torch.tensor([encoder.character_token(character) for character in CHARACTERS])
    projected = model.model.multi_modal_projector(features[shown])
    said = model.lm_head(model.model.language_model.norm(projected))
    return nn.functional.cross_entropy(said, tokens[torch.from_numpy(characters).long()[shown] - 1])


@torch.no_grad()
def accuracy(
    model, encoder: Encoder, features: torch.Tensor, asked: list[list[tuple[str, str, str]]]
) -> dict[str, float]:
    """Share of exact greedy answers by kind: `asked[b]` holds (kind, question, answer) of the picture `features[b]`."""
    tally: dict[str, list[int]] = defaultdict(list)
    image_token = model.config.image_token_id
    for start in range(0, len(asked), 16):
        part = asked[start : start + 16]
        batch = pack(encoder, [[turn[1:] for turn in turns] for turns in part], features.shape[1], image_token)
        logits, mask, _ = answer_logits(model, batch, features[start : start + 16].float())
        right = right_answers(logits, mask, batch).tolist()
        for (kind, *_), hit in zip((turn for turns in part for turn in turns), right, strict=True):
            tally[kind].append(hit)
    return {kind: sum(hits) / len(hits) for kind, hits in sorted(tally.items())}


def train_language(folder: Path, tokenizer, model, *, steps: int, batch_size: int, questions: int, lr: float, seed: int,
                   tower_waits: int, bfloat16: bool, curriculum: bool,
                   on_checkpoint: Callable[[], None]) -> None:  # fmt: skip
    """Train the whole model, or resume; writes `language.pt` now and then and calls `on_checkpoint`.

    tower_waits: steps before the tower learns too: what comes back from a decoder that knows nothing would undo what it
    has learnt. bfloat16: whether matrix products are computed in it, at half the time where the processor knows it.
    curriculum: whether scenes begin with few objects, for a decoder that cannot read yet.
    """
    torch.manual_seed(seed)
    tower, decoder, projector = model.model.vision_tower, model.model.language_model, model.model.multi_modal_projector
    lessons, heads = Lessons(DECODER["hidden_size"]), ReadOuts(VISION["hidden_size"], TARGETS)
    if not (folder / "language.pt").exists():
        load_state(folder / "vision.pt", {"heads": heads}, [])
    trained = {"model": model.model, "lessons": lessons, "heads": heads}
    groups = {
        1.0: make_optimizers([decoder, projector, lessons], lr, MATRIX_SCALE),
        TOWER_LR: make_optimizers([tower, heads], lr),
    }
    encoder, image_token = Encoder(tokenizer), model.config.image_token_id
    batches = Batches(seed, batch_size, questions)
    held_scenes = [make(number) for number in HELD_OUT_SEEDS[:30] for make in (crowded_scene, random_scene)]
    held_pool, held_asked = drawn_pool(held_scenes), held_out_questions(held_scenes)

    def step(number: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"{seed}-language-{number}")
        pool, shown, turns = batches.draw(rng, phase_at(number) if curriculum else CURRICULUM[-1])
        with torch.set_grad_enabled(number >= tower_waits):
            features = patch_features(tower, pool.batch(slice(None)))
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss, lesson_loss = torch.zeros(()), torch.zeros(())
            for rows in halves_by_length(turns):
                batch = pack(encoder, [turns[row] for row in rows], features.shape[1], image_token,
                             [shown[row] for row in rows])  # fmt: skip
                half_loss, half_lessons = language_loss(model, lessons, batch, features[rows])
                loss = loss + half_loss * len(rows) / len(turns)
                lesson_loss = lesson_loss + half_lessons * len(rows) / len(turns)
            naming = naming_loss(model, features, pool.labels["character"], encoder)
        dense = dense_loss(heads(features), pool.labels) if features.requires_grad else torch.zeros(())
        learn(loss + LESSON_WEIGHT * lesson_loss + DENSE_WEIGHT * dense + NAMING_WEIGHT * naming, trained)
        for share, group in groups.items():
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                step_all(group, share * lr * warmup_stable_decay(number, steps, decay=DECAY))
        keep_local(tower)
        return {"loss": loss, "lessons": lesson_loss, "naming": naming, "dense": dense}

    def shares_right(_: int) -> dict[str, float]:
        with torch.no_grad():
            parts = np.array_split(np.arange(len(held_scenes)), 10)
            held = torch.cat([patch_features(tower, held_pool.batch(part)) for part in parts])
        return accuracy(model, encoder, held, held_asked)

    optimizers = [optimizer for group in groups.values() for optimizer in group]
    train_steps(folder / "language.pt", trained, optimizers, steps, step,
                every=CHECKPOINT_STEPS, shares_right=shares_right, on_checkpoint=on_checkpoint)  # fmt: skip
