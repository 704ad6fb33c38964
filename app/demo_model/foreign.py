"""Pictures unlike mini-llava's world, so that it learns to say that it does not know, also when the question fits.

Noise, gradients, clouds and stripes, drawn from a seed: no photograph is needed, and none of anybody else.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from app.demo_model.scenes import MODEL_SIZE


def foreign_picture(seed: int, size: int = MODEL_SIZE) -> Image.Image:
    """An RGB picture of `size` x `size` pixels that shows nothing, the same for the same seed."""
    rng = np.random.default_rng((seed, 77))
    pixels = _FORMS[rng.integers(len(_FORMS))](rng, size)
    low, high = np.sort(rng.uniform(0, 255, (2, 3)), axis=0)
    picture = Image.fromarray((low + pixels * (high - low)).clip(0, 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2))) if rng.random() < 0.5 else picture


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.random((size, size, 3))


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    """Sums of noise at several scales, as in most photographs: much at large scales, little at small ones."""
    total = np.zeros((size, size, 3))
    for scale in (2, 4, 8, 16, 32, 64):
        coarse = Image.fromarray(rng.integers(0, 256, (scale, scale, 3), np.uint8))
        total += np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 255 * scale ** -rng.uniform(0.2, 1)
    total -= total.min((0, 1))
    return total / total.max((0, 1))


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] / size
    along = (x[..., None] * rng.normal(size=3) + y[..., None] * rng.normal(size=3)) * rng.uniform(0.5, 2)
    return 0.5 + 0.5 * np.sin(along + rng.uniform(0, 6, 3))


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] / size
    angle, count = rng.uniform(0, np.pi), rng.uniform(3, 40)
    wave = np.sin(2 * np.pi * count * (x * np.cos(angle) + y * np.sin(angle)))
    return np.repeat((wave > 0 if rng.random() < 0.5 else 0.5 + 0.5 * wave)[..., None], 3, axis=2).astype(float)


def _blobs(rng: np.random.Generator, size: int) -> np.ndarray:
    """Overlapping soft spots of every colour and size."""
    y, x = np.mgrid[0:size, 0:size] / size
    picture = np.tile(rng.random(3), (size, size, 1))
    for _ in range(rng.integers(5, 40)):
        distance = ((x - rng.random()) ** 2 + (y - rng.random()) ** 2) ** 0.5
        cover = 1 / (1 + np.exp((distance - rng.uniform(0.02, 0.3)) * rng.uniform(20, 200)).clip(0, 1e6))
        picture += cover[..., None] * (rng.random(3) - picture)
    return picture


_FORMS = (_noise, _clouds, _clouds, _gradient, _stripes, _blobs, _blobs)
