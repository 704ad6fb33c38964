"""Stage 2: projector and decoder learn to answer, on the frozen tower's features of a pool of pictures."""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from fitprune_core.mini_llava.architecture import DECODER
from fitprune_core.mini_llava.checkpoints import load_state, save_state
from fitprune_core.mini_llava.lookups import FACTS, NOT_ASKED, lookup_loss
from fitprune_core.mini_llava.muon import make_optimizers, step_all, warmup_stable_decay
from fitprune_core.mini_llava.packing import answer_logits, pack, pool_patches, right_answers
from fitprune_core.mini_llava.pictures_pool import PicturePool, easy_vqa_pool, easy_vqa_questions, scene_pool
from fitprune_core.mini_llava.questions import KINDS, ask
from fitprune_core.mini_llava.readouts import ReadOuts
from fitprune_core.mini_llava.scenes import Scene
from fitprune_core.mini_llava.text import Encoder
from fitprune_core.mini_llava.vision_stage import HELD_OUT_SEEDS, patch_features

logger = logging.getLogger(__name__)

# How often each kind is asked: what needs more than a look-up is asked more.
KIND_WEIGHTS = {"color": 2, "what is at": 2, "where": 3, "count all": 1.5, "count some": 3, "presence": 2.5,
                "relation": 3, "number": 2, "describe": 0, "absent": 1, "unknown": 1.5}  # fmt: skip
# (share of the run, most objects a scene may have): first read one object, then choose among several.
CURRICULUM = ((0.03, 1), (0.36, 2), (0.5, 4))
MATRIX_SCALE = 0.5
LOOKUP_LAYER, END_LAYER = 6, 9  # the states that enter these layers are asked for facts
DECAY = 0.2
EASY_VQA_SHARE = 1 / 8


@torch.no_grad()
def cached_features(tower, pool: PicturePool) -> torch.Tensor:
    """(P, patches, width) in half precision: the frozen tower runs once a picture."""
    parts = [
        patch_features(tower, pool.batch(np.arange(start, min(start + 64, len(pool.pixels))))).half()
        for start in tqdm(range(0, len(pool.pixels), 64), desc="features")
    ]
    return torch.cat(parts)


class SceneQuestions:
    """Scenes with cached features; draws a training batch of questions for any step from the step's own seed."""

    def __init__(self, tower, seeds: range):
        self.scenes, pool = scene_pool(seeds)
        self.features = cached_features(tower, pool)
        self.by_count = np.array([len(scene.objects) for scene in self.scenes])

    def sample(self, rng: random.Random, count: int, max_objects: int, questions: int):
        allowed = np.flatnonzero(self.by_count <= max_objects)
        chosen = [int(allowed[rng.randrange(len(allowed))]) for _ in range(count)]
        scenes = [self.scenes[i] for i in chosen]
        return scenes, [questions_of(scene, rng, questions) for scene in scenes], self.features[chosen].float()


class EasyVqaQuestions:
    """easy-VQA's pictures and questions of one split."""

    def __init__(self, tower, split: str):
        ids, pool = easy_vqa_pool(split, labelled_only=False)
        self.features = cached_features(tower, pool)
        self.turns = defaultdict(list)
        row_of = {picture: row for row, picture in enumerate(ids)}
        for question, answer, picture in easy_vqa_questions(split):
            self.turns[row_of[picture]].append((question, answer))

    def sample(self, rng: random.Random, count: int, questions: int):
        chosen = [rng.choice(tuple(self.turns)) for _ in range(count)]
        turns = [rng.sample(self.turns[i], min(questions, len(self.turns[i]))) for i in chosen]
        return turns, self.features[chosen].float()


def questions_of(scene: Scene, rng: random.Random, count: int) -> list[tuple[str, str]]:
    """A caption and `count` questions, kinds drawn by weight."""
    caption = ask("describe", scene, rng)
    turns = [(caption.text, caption.answer)]
    kinds = rng.choices(tuple(KIND_WEIGHTS), tuple(KIND_WEIGHTS.values()), k=count)
    for kind in kinds:
        question = ask(kind, scene, rng)
        if question is not None:
            turns.append((question.text, question.answer))
    return turns


@torch.no_grad()
def accuracy(model, encoder: Encoder, features: torch.Tensor, asked: list[list[tuple[str, str, str]]]) -> dict:
    """Exact greedy matches by kind: `asked[b]` holds (kind, question, answer). Returns {kind: (right, asked)}."""
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    image_token = model.config.image_token_id
    for start in range(0, len(asked), 16):
        part = asked[start : start + 16]
        batch = pack(encoder, [[turn[1:] for turn in turns] for turns in part], features.shape[1], image_token)
        logits, mask, _ = answer_logits(model, batch, features[start : start + 16].float())
        right = right_answers(logits, mask, batch).tolist()
        for (kind, *_), hit in zip((turn for turns in part for turn in turns), right, strict=True):
            tally[kind][0] += hit
            tally[kind][1] += 1
    return {kind: tuple(counts) for kind, counts in tally.items()}


def held_out_questions(scenes: list[Scene], seed: int = 7) -> list[list[tuple[str, str, str]]]:
    rng = random.Random(seed)
    asked = []
    for scene in scenes:
        questions = [ask(kind, scene, rng) for kind in KINDS]
        asked.append([(q.kind, q.text, q.answer) for q in questions if q is not None])
    return asked


def max_objects_at(progress: float) -> int:
    return next((most for share, most in CURRICULUM if progress < share), 99)


def train_language(folder: Path, tokenizer, model, *, steps: int, pooled_steps: int, pictures: int, batch_size: int,
                   questions: int, lr: float, seed: int, on_checkpoint=None) -> nn.Module:  # fmt: skip
    """Train projector and decoder, or resume; writes `language.pt` every 200 steps and calls `on_checkpoint(model)`.

    The first `pooled_steps` see 2 x 2-pooled features, a quarter of the visual tokens.
    """
    tower = model.model.vision_tower.eval().requires_grad_(False)
    lookup, end_lookup = (ReadOuts(DECODER["hidden_size"], FACTS) for _ in range(2))
    trained = {"decoder": model.model.language_model, "projector": model.model.multi_modal_projector,
               "lookup": lookup, "end_lookup": end_lookup}  # fmt: skip
    optimizers = make_optimizers(list(trained.values()), lr, MATRIX_SCALE)
    first = load_state(folder / "language.pt", trained, optimizers)
    encoder = Encoder(tokenizer)
    scenes = SceneQuestions(tower, range(seed * 10_000_000, seed * 10_000_000 + pictures))
    easy = EasyVqaQuestions(tower, "train")
    held_scenes, held_pool = scene_pool(HELD_OUT_SEEDS)
    held_features, held_asked = cached_features(tower, held_pool), held_out_questions(held_scenes)
    from_easy = round(batch_size * EASY_VQA_SHARE)
    parameters = [p for module in trained.values() for p in module.parameters()]
    progress = tqdm(range(first, steps), initial=first, total=steps, desc="language")
    for step in progress:
        rng = random.Random(f"{seed}-language-{step}")
        most = max_objects_at(step / steps)
        shown, turns, features = scenes.sample(rng, batch_size - from_easy, most, questions)
        easy_turns, easy_features = easy.sample(rng, from_easy, questions)
        features = torch.cat([features, easy_features])
        if step < pooled_steps:
            features = pool_patches(features)
        batch = pack(encoder, turns + easy_turns, features.shape[1], model.config.image_token_id,
                     scenes=[*shown, *[None] * len(easy_turns)])  # fmt: skip
        logits, asked, states = answer_logits(model, batch, features)
        losses = nn.functional.cross_entropy(logits, batch.targets[asked], reduction="none")
        weights = batch.weights[asked]
        loss = (losses * weights).sum() / weights.sum()
        words = batch.facts.masked_fill(batch.is_end[..., None], NOT_ASKED)
        ends = batch.facts.masked_fill(~batch.is_end[..., None], NOT_ASKED)
        looked_up = lookup_loss(lookup, states[LOOKUP_LAYER], words) + lookup_loss(end_lookup, states[END_LAYER], ends)
        (loss + looked_up).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        step_all(optimizers, lr * warmup_stable_decay(step, steps, decay=DECAY))
        progress.set_postfix(loss=f"{loss.item():.3f}", lookup=f"{looked_up.item():.3f}")
        if (step + 1) % 200 == 0 or step + 1 == steps:
            save_state(folder / "language.pt", trained, optimizers, step + 1)
            shown_features = pool_patches(held_features[:150].float()) if step < pooled_steps else held_features[:150]
            tally = accuracy(model, encoder, shown_features, held_asked[:150])
            shown = " ".join(f"{kind} {right / count:.2f}" for kind, (right, count) in sorted(tally.items()))
            logger.info("language step %d loss %.3f | %s", step + 1, loss.item(), shown)
            if on_checkpoint:
                on_checkpoint(model)
    return model
