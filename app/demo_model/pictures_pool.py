"""Pools of pictures in memory: scenes from seeds and easy-VQA's pictures, with labels for every patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from app.demo_model.labels import ALL_COLORS, TARGETS, scene_labels, shape_labels
from app.demo_model.scenes import MODEL_SIZE, Scene
from app.demo_model.shapes import SHAPES

EASY_SHAPES = ("circle", "rectangle", "triangle")
KINDS = (*SHAPES, *EASY_SHAPES)


@dataclass
class PicturePool:
    """`pixels`: uint8 (P, side, side, 3); `labels[target]`: uint8 (P, patches)."""

    pixels: np.ndarray
    labels: dict[str, np.ndarray]

    def batch(self, indices) -> torch.Tensor:
        return normalise(self.pixels[indices])

    def rows(self, indices) -> PicturePool:
        """Some of the pictures."""
        return PicturePool(self.pixels[indices], {name: values[indices] for name, values in self.labels.items()})


def normalise(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), exactly as the model's image processor does it."""
    values = torch.tensor(pixels).float().div_(255.0)
    mean, std = torch.tensor(OPENAI_CLIP_MEAN), torch.tensor(OPENAI_CLIP_STD)
    return ((values - mean) / std).permute(0, 3, 1, 2).contiguous()


def drawn_pool(scenes: Sequence[Scene]) -> PicturePool:
    """Scenes as pictures and labels."""
    return stacked([np.asarray(scene.draw()) for scene in scenes], [scene_labels(scene) for scene in scenes])


def stacked(pictures: Sequence[np.ndarray], labels: Sequence[dict[str, np.ndarray]]) -> PicturePool:
    return PicturePool(np.stack(pictures), {name: np.stack([label[name] for label in labels]) for name in TARGETS})


def joined(*pools: PicturePool) -> PicturePool:
    """Several pools as one, in order."""
    return PicturePool(
        np.concatenate([pool.pixels for pool in pools]),
        {name: np.concatenate([pool.labels[name] for pool in pools]) for name in TARGETS},
    )


def easy_vqa_pool(split: str) -> tuple[list[int], PicturePool]:
    """easy-VQA's pictures of one split, enlarged the way the model's image processor does it, with patch labels."""
    paths, facts = easy_vqa_paths(split), easy_vqa_facts(split)
    ids, size = sorted(paths), (MODEL_SIZE, MODEL_SIZE)
    pictures = [np.asarray(Image.open(paths[i]).convert("RGB").resize(size, Image.Resampling.BICUBIC)) for i in ids]
    return ids, stacked(
        pictures, [shape_labels(picture, facts[i][1]) for i, picture in zip(ids, pictures, strict=True)]
    )


def easy_vqa_paths(split: str) -> dict[int, str]:
    import easy_vqa  # needed to retrain only, so not among the app's requirements

    return easy_vqa.get_train_image_paths() if split == "train" else easy_vqa.get_test_image_paths()


def easy_vqa_questions(split: str) -> list[tuple[str, str, int]]:
    """(question, answer, picture id) of one split."""
    import easy_vqa

    return list(
        zip(*(easy_vqa.get_train_questions() if split == "train" else easy_vqa.get_test_questions()), strict=True)
    )


def easy_vqa_facts(split: str) -> dict[int, tuple[str, str]]:
    """(shape, colour) of each picture, read off its questions and their answers; "" where they do not tell."""
    shapes, colors = {}, {}
    for question, answer, picture in easy_vqa_questions(split):
        words = question.rstrip("?").split()
        negated = bool({"no", "not"} & set(words))
        if answer == ("no" if negated else "yes"):
            answer = next(word for word in words if word in EASY_SHAPES or word in ALL_COLORS)
        if answer in EASY_SHAPES:
            shapes[picture] = answer
        if answer in ALL_COLORS:
            colors[picture] = answer
    return {i: (shapes.get(i, ""), colors.get(i, "")) for i in easy_vqa_paths(split)}
