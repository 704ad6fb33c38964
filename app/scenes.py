"""Pictures to begin with: the examples of assets/examples, and random scenes whose true answers are known."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from fitprune_core.comparison import normalised
from fitprune_core.mini_llava.questions import UNKNOWN_ANSWER, Question, questions_about
from fitprune_core.mini_llava.scenes import Scene, random_scene

EXAMPLES = Path(__file__).resolve().parent.parent / "assets" / "examples"
_DRAWN_SIDE = 576

# Far above the seeds of training, so that nobody has seen these scenes.
_FIRST_SEED, _LAST_SEED = 2**40, 2**41

# So many phrasings of every kind of question are recognised, so that a question that is typed anew has a truth too.
_PHRASINGS = 60


@dataclass(frozen=True)
class Example:
    """A picture to ask about. `truths` maps questions, as `question_key` writes them, to their answers."""

    title: str
    picture: Path | None
    question: str
    truths: dict[str, str]
    seed: int | None = None

    def open(self) -> Image.Image:
        """The picture, RGB."""
        if self.picture is None:
            return random_scene(self.seed).draw(_DRAWN_SIDE)
        return Image.open(self.picture).convert("RGB")


@cache
def load_examples(folder: Path = EXAMPLES) -> tuple[Example, ...]:
    """The examples of a folder, as its examples.json lists them. Empty where there is no such file."""
    index = folder / "examples.json"
    if not index.is_file():
        return ()
    found = []
    for entry in json.loads(index.read_text(encoding="utf-8")):
        seed = entry.get("seed")
        truths = known_truths(random_scene(seed)) if seed is not None else {}
        if "answer" in entry:
            truths = {**truths, question_key(entry["question"]): entry["answer"]}
        found.append(Example(entry["title"], folder / entry["picture"], entry["question"], truths, seed))
    return tuple(found)


def new_scene(seed: int | None = None) -> Example:
    """A scene that nobody has seen, with a question about it."""
    rng = random.Random(seed)
    number = rng.randrange(_FIRST_SEED, _LAST_SEED)
    scene = random_scene(number)
    questions = [q for n in range(_PHRASINGS) for q in questions_about(scene, n) if _is_plain(q)]
    return Example("Random scene", None, rng.choice(questions).text, known_truths(scene), number)


def known_truths(scene: Scene) -> dict[str, str]:
    """The questions that a scene can be asked, in many phrasings, with their true answers."""
    return {
        question_key(question.text): question.answer
        for number in range(_PHRASINGS)
        for question in questions_about(scene, number)
    }


def question_key(question: str) -> str:
    """A question without its case, punctuation and spaces at the ends, which make no difference to its answer."""
    return " ".join(re.sub(r"[^\w\s']", " ", question.casefold()).split())


def is_right(answer: str, truth: str) -> bool:
    """Whether an answer is the true one, apart from what does not change it (see `normalised`)."""
    return normalised(answer) == normalised(truth)


def _is_plain(question: Question) -> bool:
    """Whether a question is typed with care and has an answer in the picture: good to begin with."""
    text = question.text
    return text[:1].isupper() and not text.isupper() and text.endswith("?") and question.answer != UNKNOWN_ANSWER
