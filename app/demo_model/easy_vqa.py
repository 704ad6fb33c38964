"""easy-VQA's test split: one coloured shape a picture, a world beside the drawn one. Its package is optional."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from app.demo_model.pictures_pool import EASY_SHAPES, easy_vqa_paths, easy_vqa_questions

_SPLIT = "test"  # mini-llava was trained on the other
MISSING = "easy-VQA is not installed on this server: pip install easy-vqa adds it."


@dataclass(frozen=True)
class EasyQuestion:
    """A question of the split. id: of its place in it; picture: a PNG of the package's; kind: what it asks for."""

    id: str
    picture: Path
    question: str
    answer: str

    @property
    def kind(self) -> str:
        return "yes or no" if self.answer in ("yes", "no") else "shape" if self.answer in EASY_SHAPES else "color"

    def line(self, image: str) -> str:
        """Its line of a samples file, beside which its picture lies under such a name."""
        asked = {"id": self.id, "image": image, "question": self.question, "answer": self.answer, "kind": self.kind}
        return json.dumps(asked) + "\n"


def is_installed() -> bool:
    """Whether the package is there."""
    try:
        return importlib.util.find_spec("easy_vqa") is not None
    except ValueError:  # a module that was put there by hand has no specification
        return True


def spread_questions(count: int, without: Collection[Path] = ()) -> tuple[list[EasyQuestion], int]:
    """Up to `count` questions evenly spread over the split, and how many it has.

    without: pictures to ask nothing about. Raises ValueError, which says how to get it, where the package is not there.
    """
    if not is_installed():
        raise ValueError(MISSING)
    questions, paths = easy_vqa_questions(_SPLIT), easy_vqa_paths(_SPLIT)
    numbers = [number for number, (*_, picture) in enumerate(questions) if Path(paths[picture]) not in without]
    found = []
    for number in numbers[:: max(1, len(numbers) // count)][:count]:
        question, answer, picture = questions[number]
        found.append(EasyQuestion(f"easy-{number}", Path(paths[picture]), question, answer))
    return found, len(questions)


def write_questions(folder: Path, count: int) -> Path:
    """Such questions with copies of their pictures in a folder that needs nothing else; returns the samples file."""
    questions, _ = spread_questions(count)
    folder.mkdir(parents=True, exist_ok=True)
    for picture in {asked.picture for asked in questions}:
        shutil.copyfile(picture, folder / picture.name)
    samples = folder / "samples.jsonl"
    samples.write_text("".join(asked.line(asked.picture.name) for asked in questions), encoding="utf-8")
    return samples
