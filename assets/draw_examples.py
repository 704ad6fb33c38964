"""Draw the example pictures of the app into assets/examples, and list them in examples.json.

Run `python assets/draw_examples.py` from the repository's root. The scenes come from seeds far above those of training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.asking.scenes import EXAMPLES, true_answer
from app.demo_model.crowded import scene_of

SIDE = 480

# (file, title, seed, question, budget in percent, seed of the scene whose halves lie left and right of it). Odd seeds
# are crowded scenes. Failures are called so.
SCENES = (
    ("sign", "One sign of many", 8_000_000_011, "What is on the orange sign?", 60, None),
    ("other-sign", "The same picture, another sign", 8_000_000_011, "What is written on the bottom sign?", 60, None),
    ("plate", "A plate at a high budget", 8_000_000_029, "What is on the blue plate?", 80, None),
    ("badge", "A badge", 8_000_000_003, "Which badge does the tree have?", 80, None),
    ("counting", "Counting", 8_000_000_006, "How many umbrellas are there?", 60, None),
    ("relation", "Relations between objects", 8_000_000_024, "Is the key left of the clock?", 60, None),
    ("sentence", "The whole picture in a sentence", 8_000_000_008, "What objects are there?", 60, None),
    ("wide", "A wide picture: its sides are cropped away", 8_000_000_026, "Where is the house?", 60, 8_000_000_010),
    ("character", "A failure: a character is read twice", 8_000_000_013, "What does it say at the top left?", 80, None),
    ("forgotten", "A failure: an object is forgotten", 8_000_000_066, "List the objects", 60, None),
    ("wrong-object", "A failure that chance avoids", 8_000_000_038, "Which object is at the top left?", 80, None),
)


def main() -> None:
    EXAMPLES.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, title, seed, question, percent, sides in SCENES:
        if true_answer(seed, question) is None:
            raise SystemExit(f"nobody knows the true answer to {question!r} about scene {seed}")
        picture = scene_of(seed).draw(SIDE)
        if sides is not None:
            picture = between_halves(picture, scene_of(sides).draw(SIDE))
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
