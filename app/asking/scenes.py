"""Pictures to begin with: the examples of assets/examples, and random scenes whose true answers are known."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image

from app.budgets import LARGEST_PERCENT
from app.demo_model.crowded import scene_of
from app.demo_model.questions import KINDS, UNKNOWN_ANSWER, Question, questions_about
from app.demo_model.scenes import PLACES, SceneObject
from app.demo_model.shapes import plural
from fitprune_core import normalised
from fitprune_core.run.questions import MAX_QUESTION_CHARACTERS

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"
_DRAWN_SIDE = 576

# Far above the seeds of training, so that nobody has seen these scenes.
_FIRST_SEED, _LAST_SEED = 2**40, 2**41

# Questions are drawn at random; so many draws of every kind meet nearly every phrasing about nearly every object.
_DRAWS = 3_000
_POLITENESS = re.compile(r"^(?:(?:please|hello|so) )+| please$")
_PICTURE = re.compile(r"\b(?:the|this) (?:picture|image|scene)\b")
_PERCENT = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,9})?")
_PLAIN = re.compile(r"[A-Z][^?!.]*[^?!.\s]\?")  # one question mark, after the last word
_AT_PLACE = re.compile(rf" (?:at|in|on) the ({'|'.join(sorted(PLACES, key=len, reverse=True))}) ")
_ANSWERABLE = tuple(ask for kind, ask in KINDS.items() if kind != "unknown")


@dataclass(frozen=True)
class Example:
    """A picture to ask about, and the budget to do it with. `seed` is that of the scene it shows."""

    title: str
    picture: Path | None
    question: str
    seed: int
    percent: float | None = None

    @property
    def name(self) -> str:
        """Of files that belong to it."""
        return f"scene-{self.seed}" if self.picture is None else self.picture.stem

    @property
    def shown(self) -> Image.Image | str:
        """What a page is given to show: the picture's file, or the picture where there is none."""
        return self.open() if self.picture is None else str(self.picture)

    def open(self) -> Image.Image:
        """The picture, RGB."""
        if self.picture is None:
            return scene_of(self.seed).draw(_DRAWN_SIDE)
        return Image.open(self.picture).convert("RGB")


@dataclass(frozen=True)
class KnownAnswer:
    """The right answer to one question, as a samples file gives it, about a picture that is no scene of ours.

    It stands where the seed of a scene would, so that it goes wherever another picture comes.
    """

    question: str
    answer: str


@cache
def load_examples(folder: Path = EXAMPLES) -> tuple[Example, ...]:
    """The examples of a folder, as its examples.json lists them. Empty where there is no such file."""
    index = folder / "examples.json"
    if not index.is_file():
        return ()
    return tuple(
        Example(entry["title"], folder / entry["picture"], entry["question"], entry["seed"], entry["percent"])
        for entry in json.loads(index.read_text(encoding="utf-8"))
    )


def new_scene(seed: int | None = None) -> Example:
    """A scene that nobody has seen, with a question about it."""
    rng = random.Random(seed)
    number = rng.randrange(_FIRST_SEED, _LAST_SEED)
    questions = [q for n in range(20) for q in questions_about(scene_of(number), n) if _is_plain(q)]
    return Example("Random scene", None, rng.choice(questions).text, number)


def link_of(examples: Sequence[Example], seed: int | KnownAnswer | None, question: str, percent: float) -> str:
    """What an address must ask for to show a comparison again; "" for a picture that nobody else has."""
    if not isinstance(seed, int):
        return ""
    own = [at for at, example in enumerate(examples) if example.seed == seed]
    asked = [at for at in own if question_key(examples[at].question) == question_key(question)]
    at = next(iter(asked + own), None)  # two examples may ask about one scene
    about = {"scene": seed} if at is None else {"example": at}
    return urlencode({**about, "question": question, "budget": f"{percent:g}"})


def linked(examples: Sequence[Example], asked: Mapping[str, str]) -> Example | None:
    """The example that an address asks for, with its question and budget; None where it asks for none.

    Raises ValueError, for a visitor, for one that is not there.
    """
    if "example" in asked:
        number = _whole(asked["example"], 0, len(examples) - 1)
        example = None if number is None else examples[number]
    elif "scene" in asked:
        seed = _whole(asked["scene"], 0, _LAST_SEED)
        example = None if seed is None else Example("Scene", None, "", seed)
    else:
        return None
    if example is None:
        raise ValueError("There is no such example or scene as this link asks for.")
    percent = percent_in(asked.get("budget", ""))
    question = asked.get("question", "")[:MAX_QUESTION_CHARACTERS]
    return replace(
        example, question=question or example.question, percent=example.percent if percent is None else percent
    )


def percent_in(text: str) -> float | None:
    """A budget in percent as addresses have it, "60" or "62.5"; None for what is none."""
    number = float(text) if _PERCENT.fullmatch(text) else -1.0
    return number if 0 <= number <= LARGEST_PERCENT else None


def _whole(text: str, smallest: int, largest: int) -> int | None:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1
    return number if smallest <= number <= largest else None


def true_answer(seed: int | KnownAnswer | None, question: str) -> str | None:
    """The true answer to a question about the scene of a seed, or to the one whose answer came with the picture; None
    where it is not known.
    """
    if isinstance(seed, KnownAnswer):
        return seed.answer if question_key(question) == question_key(seed.question) else None
    return None if seed is None else _answers(seed).to(question_key(question))


class _Answers:
    """The true answers about one scene, by question: each question is drawn once, however many are asked for.

    Drawing all of them takes a second and more, and visitors ask while they hold the model: so it goes on where the
    question before was found, and what was drawn is kept.
    """

    def __init__(self, seed: int) -> None:
        self._found: dict[str, str] = {}
        self._drawing = self._draw(seed)
        self._lock = threading.Lock()

    def to(self, key: str) -> str | None:
        """The answer to a question, by its key; None where no question that was drawn is that one."""
        with self._lock:
            while key not in self._found and (drawn := next(self._drawing, None)) is not None:
                self._found.setdefault(question_key(drawn.text), drawn.answer)
        return self._found.get(key)

    @staticmethod
    def _draw(seed: int) -> Iterator[Question]:
        scene, rng = scene_of(seed), random.Random(seed)
        for _ in range(_DRAWS):
            for ask in _ANSWERABLE:
                question = ask(scene, rng)
                if question is not None:
                    yield question


@lru_cache(maxsize=256)
def _answers(seed: int) -> _Answers:
    return _Answers(seed)


def question_key(question: str) -> str:
    """A question without what makes no difference to its answer: case, punctuation, politeness, what a picture is."""
    words = " ".join(re.sub(r"[^\w\s']", " ", question.casefold()).split())
    return _POLITENESS.sub("", _PICTURE.sub("the picture", words))


def asked_objects(seed: int | KnownAnswer | None, question: str) -> tuple[SceneObject, ...]:
    """The objects of a scene that a question names, by kind, by colour and kind, by colour alone, or by place.

    Empty where it names none that is there, asks about the whole picture, or is about another picture.
    """
    if not isinstance(seed, int):
        return ()
    words = f" {question_key(question).replace('middle', 'center')} "
    at, objects = _AT_PLACE.search(words), scene_of(seed).objects
    named = [item for item in objects for name in (item.kind, plural(item.kind)) if f" {name} " in words]
    named += [item for item in objects if re.search(rf" {item.color} (?:objects?|things?) ", words)]
    exact = [item for item in named if re.search(rf" (?:{item.color}|{item.place}) {item.kind}", words)]
    kinds = {item.kind for item in exact}
    named = [item for item in named if item in exact or item.kind not in kinds]
    there = [item for item in objects if at and item.place == at[1]]
    if there and (not named or any(item in named for item in there)):
        named = there
    return tuple(item for item in objects if item in named)


def is_right(answer: str, truth: str) -> bool:
    """Whether an answer is the true one, apart from what does not change it (see `normalised`)."""
    return normalised(answer) == normalised(truth)


def _is_plain(question: Question) -> bool:
    """Whether a question is typed with care and has an answer in the picture: good to begin with."""
    text = question.text
    return _PLAIN.fullmatch(text) is not None and not text.isupper() and question.answer != UNKNOWN_ANSWER
