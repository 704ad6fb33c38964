"""Pools of pictures in memory: scenes from seeds and easy-VQA's pictures, with a label for every patch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from app.demo_model.architecture import GRID, PATCH_SIZE
from app.demo_model.scenes import COLUMNS, MAX_OBJECTS, MODEL_SIZE, ROWS, Scene, random_scene
from app.demo_model.shapes import COLORS, SHAPES

EASY_SHAPES = ("circle", "rectangle", "triangle")
KINDS = (*SHAPES, *EASY_SHAPES)
ALL_COLORS = (*COLORS, "gray", "teal")
# What stage 1 teaches every patch to know; 0 always means "nothing here".
TARGETS = {
    "kind": len(KINDS) + 1,
    "color": len(ALL_COLORS) + 1,
    "cell": ROWS * COLUMNS + 1,
    "tens": 11,
    "units": 11,
    "same_kind": MAX_OBJECTS + 1,
    "same_color": MAX_OBJECTS + 1,
    "total": MAX_OBJECTS + 1,
    "region": ROWS * COLUMNS + 1,
}


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
    values = torch.from_numpy(pixels).float().div_(255.0)
    mean, std = torch.tensor(OPENAI_CLIP_MEAN), torch.tensor(OPENAI_CLIP_STD)
    return ((values - mean) / std).permute(0, 3, 1, 2).contiguous()


def scene_pool(seeds: range, max_objects: int = MAX_OBJECTS) -> tuple[list[Scene], PicturePool]:
    scenes = [random_scene(seed, max_objects) for seed in seeds]
    pixels = np.stack([np.asarray(scene.draw()) for scene in scenes])
    labels = [scene_labels(scene) for scene in scenes]
    return scenes, PicturePool(pixels, {name: np.stack([label[name] for label in labels]) for name in TARGETS})


def easy_vqa_pool(split: str, labelled_only: bool = True) -> tuple[list[int], PicturePool]:
    """easy-VQA's pictures of one split, enlarged the way the model's image processor does it, with patch labels.

    With `labelled_only`, pictures whose questions do not tell both shape and colour are left out; without it, all are
    there and none has labels.
    """
    paths, facts = easy_vqa_paths(split), easy_vqa_facts(split)
    ids = sorted(i for i in paths if all(facts[i]) or not labelled_only)
    size = (MODEL_SIZE, MODEL_SIZE)
    pixels = np.stack(
        [np.asarray(Image.open(paths[i]).convert("RGB").resize(size, Image.Resampling.BICUBIC)) for i in ids]
    )
    if not labelled_only:
        return ids, PicturePool(pixels, {})
    labels = [shape_labels(picture, *facts[i]) for i, picture in zip(ids, pixels, strict=True)]
    return ids, PicturePool(pixels, {name: np.stack([label[name] for label in labels]) for name in TARGETS})


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
    """(shape, colour) of each picture, read off its questions and their answers."""
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


def shape_labels(picture: np.ndarray, shape: str, color: str) -> dict[str, np.ndarray]:
    """Labels of a picture with one shape: its patches are those unlike the corner's background."""
    distance = np.abs(picture.astype(np.int16) - picture[0, 0].astype(np.int16)).sum(-1) > 60
    mask = distance.reshape(GRID, PATCH_SIZE, GRID, PATCH_SIZE).mean((1, 3)) > 0.25
    labels = {name: np.zeros((GRID, GRID), np.uint8) for name in TARGETS}
    rows, columns = np.nonzero(mask)
    if len(rows):
        cell = int(rows.mean() * ROWS / GRID) * COLUMNS + int(columns.mean() * COLUMNS / GRID)
        labels["kind"][mask] = KINDS.index(shape) + 1 if shape else 0
        labels["color"][mask] = ALL_COLORS.index(color) + 1 if color else 0
        labels["cell"][mask] = cell + 1
        labels["same_kind"][mask] = labels["same_color"][mask] = 1
    labels["total"][:] = 1
    return {name: _with_region(name, grid).reshape(-1) for name, grid in labels.items()}


def joined(*pools: PicturePool) -> PicturePool:
    """Several pools as one, in order."""
    return PicturePool(
        np.concatenate([pool.pixels for pool in pools]),
        {name: np.concatenate([pool.labels[name] for pool in pools]) for name in TARGETS},
    )


def scene_labels(scene: Scene) -> dict[str, np.ndarray]:
    """One label a patch and target: an object owns the patches whose centres lie in its box."""
    labels = {name: np.zeros((GRID, GRID), np.uint8) for name in TARGETS}
    centres = (np.arange(GRID) + 0.5) / GRID
    kinds = [item.kind for item in scene.objects]
    colors = [item.color for item in scene.objects]
    for item in scene.objects:
        x0, y0, x1, y1 = item.box
        rows = np.flatnonzero((centres >= y0) & (centres < y1))
        columns = np.flatnonzero((centres >= x0) & (centres < x1))
        here = np.ix_(rows, columns)
        labels["kind"][here] = KINDS.index(item.kind) + 1
        labels["color"][here] = ALL_COLORS.index(item.color) + 1
        labels["cell"][here] = item.cell + 1
        labels["same_kind"][here] = kinds.count(item.kind)
        labels["same_color"][here] = colors.count(item.color)
        if item.number:
            labels["tens"][here] = int(item.number[-2]) + 1 if len(item.number) == 2 else 0
            labels["units"][here] = int(item.number[-1]) + 1
    labels["total"][:] = len(scene.objects)
    return {name: _with_region(name, grid).reshape(-1) for name, grid in labels.items()}


def _with_region(name: str, grid: np.ndarray) -> np.ndarray:
    if name == "region":
        third = np.minimum(np.arange(GRID) * PATCH_SIZE * ROWS // MODEL_SIZE, ROWS - 1).astype(np.uint8)
        grid[:] = third[:, None] * COLUMNS + third[None, :] + 1
    return grid
