"""Draw the example pictures of the app into assets/examples, and list them in examples.json.

Run `python assets/draw_examples.py` from the repository's root. The scenes come from seeds far above those of training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.demo_model.scenes import random_scene
from app.scenes import EXAMPLES, true_answer

SIDE = 480

# (file, title, seed, question, budget in percent, seed of the scene whose halves lie left and right of it)
SCENES = (
    ("colors", "Colours: a scene of six objects", 8_000_000_003, "What color is the star?", 60, None),
    ("counting", "Counting", 8_000_000_006, "How many umbrellas are there?", 60, None),
    ("relation", "Relations between objects", 8_000_000_024, "Is the key left of the clock?", 60, None),
    ("sentence", "The whole picture in a sentence", 8_000_000_013, "Describe the picture.", 20, None),
    ("wide", "A wide picture: its sides are cropped away", 8_000_000_025, "Where is the bell?", 60, 8_000_000_007),
    (
        "reading",
        "Reading at a high budget, which suffers first",
        8_000_000_028,
        "What number is on the sign?",
        85,
        None,
    ),
)


def main() -> None:
    EXAMPLES.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, title, seed, question, percent, sides in SCENES:
        if true_answer(seed, question) is None:
            raise SystemExit(f"nobody knows the true answer to {question!r} about scene {seed}")
        picture = random_scene(seed).draw(SIDE)
        if sides is not None:
            picture = between_halves(picture, random_scene(sides).draw(SIDE))
        picture.save(EXAMPLES / f"{name}.png", optimize=True)
        entries.append(
            {"title": title, "picture": f"{name}.png", "seed": seed, "question": question, "percent": percent}
        )
    (EXAMPLES / "examples.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def between_halves(middle: Image.Image, other: Image.Image) -> Image.Image:
    """A picture twice as wide: one scene whole in the middle, the halves of another beside it."""
    half = SIDE // 2
    wide = Image.new("RGB", (2 * SIDE, SIDE))
    wide.paste(other.crop((0, 0, half, SIDE)), (0, 0))
    wide.paste(middle, (half, 0))
    wide.paste(other.crop((half, 0, SIDE, SIDE)), (half + SIDE, 0))
    return wide


if __name__ == "__main__":
    main()
