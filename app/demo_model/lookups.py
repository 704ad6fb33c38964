"""A second, dense lesson for the decoder: a word that names something in the picture should know what is there.

Answers alone teach slowly: to say where the car is, the word "car" must find its patches and the end of the question
must find the word, and neither step pays before the other exists. So while training, the state of such a word halfway
up the decoder is also asked, by a linear head that is thrown away afterwards, for what stands there: for a kind of
object its place, colour and number, for a colour its number, for a place the kind and colour there; and where something
is written, for the characters, all alike: which they are, not in what order, so that later layers still have to read;
two layers higher for those behind the first.
Where a picture is described, each comma is asked as early for the object that comes next, and the end of each object
for whether more follow. A little higher the end of the question is asked for the same facts of what it was about, of
something written for the first character, and what comes before a character of an answer for that one; where it was
about two objects, their names and its end are asked how the two lie to one another. Where the whole picture is to be
described, the end of the question is asked early which kinds, colours and characters there are, in no order, and two
layers higher what stands in each place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import nn

from app.demo_model.crowded import MOST_OBJECTS, PLATE_LENGTH
from app.demo_model.labels import ALL_COLORS
from app.demo_model.lettering import CHARACTERS
from app.demo_model.pictures_pool import KINDS
from app.demo_model.readouts import ReadOuts
from app.demo_model.scenes import PLACES, Scene, SceneObject
from app.demo_model.shapes import COLORS, SHAPES, plural

# What is known of one object or place; 0 is "nothing". "following": how many objects a caption has still to name (none,
# one, or more).
FACTS = {
    "kind": len(KINDS) + 1,
    "color": len(ALL_COLORS) + 1,
    "cell": len(PLACES) + 1,
    "count": MOST_OBJECTS + 1,
    "character": len(CHARACTERS) + 1,
    "following": 3,
}
# What is known of two objects: the first one's place, and on which side of the other it lies (0: on neither).
PAIR_FACTS = {"first": len(PLACES) + 1, "across": 3, "upright": 3}
# What is known of the whole picture: the kind and the colour of what stands in each place.
SCENE_FACTS = {f"{name} at the {place}": FACTS[name] for name in ("kind", "color") for place in PLACES}
# What is known of something written: whether it has a character, and which one stands behind the first.
WRITTEN_FACTS = {f"has {character}": 2 for character in CHARACTERS}
CODE_FACTS = {f"character {place}": len(CHARACTERS) + 1 for place in range(2, PLATE_LENGTH + 1)}
# What is known at once of the whole picture: whether it has a kind of object, and a colour.
PRESENT_FACTS = {f"has a {kind}": 2 for kind in KINDS} | {f"has {color}": 2 for color in ALL_COLORS}
_OF_WRITTEN = ("character", *WRITTEN_FACTS, *CODE_FACTS)
ALL_FACTS = (*FACTS, *PAIR_FACTS, *SCENE_FACTS, *WRITTEN_FACTS, *CODE_FACTS, *PRESENT_FACTS)
NOT_ASKED = -100
WRITTEN_WEIGHT = 0.5
WORD_LAYER, CODE_LAYER, END_LAYER = 2, 4, 6  # the states that enter these decoder layers are asked

_CHARACTER_NUMBERS = {character: number for number, character in enumerate(CHARACTERS, start=1)}
_KIND_OF_WORD = {word: kind for kind in SHAPES for word in (kind, plural(kind))}
_KIND_WORDS = re.compile(rf"\b(?:({'|'.join(COLORS)}) )?({'|'.join(sorted(_KIND_OF_WORD, key=len, reverse=True))})\b")
_COLOR_WORDS = re.compile(rf"\b({'|'.join(COLORS)})\b")
_COMMAS = re.compile(r",| and\b")
# "the left" of the picture is a place, that of an object is not.
_NO_PLACE = r"(?! than| of (?!the (?:picture|image)))"
_PLACE_WORDS = re.compile(rf"\bthe ({'|'.join(sorted(PLACES, key=len, reverse=True))}|middle)\b{_NO_PLACE}")


@dataclass(frozen=True)
class OneShape:
    """What is known of a picture of easy-VQA: one shape of one colour, each "" where its questions do not tell."""

    kind: str
    color: str


def lookups(scene: Scene, text: str) -> list[tuple[int, dict[str, int]]]:
    """What each naming word of `text` should know: (position of its last character, {fact: value})."""
    text = text.lower()
    named = list(_KIND_WORDS.finditer(text))
    found = [(match.end() - 1, _facts_of_kind(scene, *match.groups())) for match in named]
    if len(named) == 2:
        first, second = ((match[1], match[2]) for match in named)
        found[1][1].update(_facts_of_pair(scene, first, second))
    for match in _COLOR_WORDS.finditer(text):
        found.append((match.end() - 1, {"count": sum(item.color == match.group(1) for item in scene.objects)}))
    for match in _PLACE_WORDS.finditer(text):
        found.append((match.end() - 1, _facts_of_place(scene, match.group(1).replace("middle", "center"))))
    return found


def asked_facts(shown: Scene | OneShape | None, question: str) -> dict[str, int]:
    """What the end of a question should know: what it names, one object, two or a place, and what is true of it."""
    facts = _facts_of_question(shown, question)
    return {name: value for name, value in facts.items() if name not in WRITTEN_FACTS and name not in CODE_FACTS}


def _facts_of_question(shown: Scene | OneShape | None, question: str) -> dict[str, int]:
    if shown is None:
        return {}
    if isinstance(shown, OneShape):
        known = {"kind": (KINDS, shown.kind), "color": (ALL_COLORS, shown.color)}
        return {name: values.index(value) + 1 for name, (values, value) in known.items() if value}
    text = question.lower()
    kinds, places = _KIND_WORDS.findall(text), _PLACE_WORDS.findall(text)
    if len(kinds) == 2:
        return _facts_of_kind(shown, *kinds[0]) | _facts_of_pair(shown, *kinds)
    if len(kinds) == 1 and not places:
        ((color, word),) = kinds
        return _facts_of_kind(shown, color, word) | {"kind": KINDS.index(_KIND_OF_WORD[word]) + 1}
    if len(places) == 1 and len(kinds) < 2:
        place = places[0].replace("middle", "center")
        return _facts_of_place(shown, place) | {"cell": PLACES.index(place) + 1}
    return {}


def caption_facts(scene: Scene, caption: str) -> tuple[dict[str, int], list[tuple[int, dict[str, int]]]]:
    """What is to be known on the way to a caption: by the end of the question, and by its commas and objects.

    Returns the first object's facts with those of the whole scene; and by the position of its last character what every
    comma (or "and") should know, the next object's facts, and every object's end, how many follow.
    """
    found = [_facts_of_object(item) for item in scene.objects]
    known = {item.place: facts for item, facts in zip(scene.objects, found, strict=True)}
    whole = {
        f"{name} at the {place}": known[place][name] if place in known else 0
        for name in ("kind", "color")
        for place in PLACES
    }
    commas = list(_COMMAS.finditer(caption))
    ends = [*(comma.start() - 1 for comma in commas), len(caption) - 1]
    later: list[tuple[int, dict[str, int]]] = [
        (comma.end() - 1, facts) for comma, facts in zip(commas, found[1:], strict=True)
    ]
    following = [(end, {"following": min(len(commas) - number, 2)}) for number, end in enumerate(ends)]
    first = {name: value for name, value in found[0].items() if name not in CODE_FACTS}
    written = "".join(item.text or item.badge for item in scene.objects)
    return first | whole | _characters_in(written) | _kinds_and_colors(scene), later + following


class Lessons(nn.Module):
    """The read-outs of all lessons: of naming words, of the ends of questions, of pairs, and of whole scenes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words, self.ends = ReadOuts(width, FACTS), ReadOuts(width, FACTS)
        self.pairs, self.scenes = ReadOuts(width, PAIR_FACTS), ReadOuts(width, SCENE_FACTS)
        self.codes = ReadOuts(width, CODE_FACTS)
        self.written = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(CHARACTERS)))
        self.present = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(PRESENT_FACTS)))

    def loss(self, states: tuple[torch.Tensor, ...], facts: torch.Tensor, is_late: torch.Tensor) -> torch.Tensor:
        """Sum of the lessons' mean cross-entropies.

        states: what enters each decoder layer, (B, T, width) each. facts: (B, T, all facts), -100 where nothing is
        asked. is_late: (B, T), where facts of one object are asked at the later of the two layers.
        """
        sizes = [len(each) for each in (FACTS, PAIR_FACTS, SCENE_FACTS, WRITTEN_FACTS, CODE_FACTS, PRESENT_FACTS)]
        own, pair, scene, written, code, present = facts.split(sizes, dim=-1)
        words, ends = own.masked_fill(is_late[..., None], NOT_ASKED), own.masked_fill(~is_late[..., None], NOT_ASKED)
        words[..., tuple(FACTS).index("character")] = NOT_ASKED  # which one is first is for later layers
        return (
            lookup_loss(self.words, states[WORD_LAYER], words)
            + lookup_loss(self.ends, states[END_LAYER], ends)
            + lookup_loss(self.pairs, states[END_LAYER], pair)
            + lookup_loss(self.scenes, states[CODE_LAYER], scene)
            + lookup_loss(self.codes, states[CODE_LAYER], code)
            + WRITTEN_WEIGHT * present_loss(self.written, states[WORD_LAYER], written)
            + WRITTEN_WEIGHT * present_loss(self.present, states[WORD_LAYER], present)
        )


def present_loss(head: nn.Module, states: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """What is there, in whatever order: a binary cross-entropy for each thing, summed, mean over the asked places.

    states: (B, T, width); present: (B, T, things), 1 for those that are there and -100 where not asked.
    """
    asked = present[..., 0] != NOT_ASKED
    if not asked.any():
        return torch.zeros(())
    scores = head(states[asked])
    losses = nn.functional.binary_cross_entropy_with_logits(scores, present[asked].to(scores.dtype), reduction="sum")
    return losses / asked.sum()


def lookup_loss(head: ReadOuts, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over everything asked. states: (B, T, width); targets: (B, T, facts), -100 where not asked."""
    asked = (targets != NOT_ASKED).any(-1)
    if not asked.any():
        return torch.zeros(())
    losses = [
        nn.functional.cross_entropy(scores, targets[asked][:, i], ignore_index=NOT_ASKED, reduction="sum")
        for i, scores in enumerate(head(states[asked]).values())
    ]
    return torch.stack(losses).sum() / (targets != NOT_ASKED).sum()


def _named(scene: Scene, color: str, word: str) -> list[SceneObject]:
    """The objects that a name may mean: of its kind, and of its colour too where one of that kind has it."""
    kind = [item for item in scene.objects if item.kind == _KIND_OF_WORD[word]]
    return [item for item in kind if item.color == color] or kind


def _facts_of_kind(scene: Scene, color: str, word: str) -> dict[str, int]:
    here = _named(scene, color, word)
    facts = {"count": sum(item.kind == _KIND_OF_WORD[word] for item in scene.objects)}
    if not here:
        facts |= {"cell": 0, "color": 0}
    elif len(here) == 1:
        known = _facts_of_object(here[0])
        facts |= {name: known[name] for name in ("cell", "color", *_OF_WRITTEN) if name in known}
    return facts


def _facts_of_pair(scene: Scene, first: tuple[str, str], second: tuple[str, str]) -> dict[str, int]:
    """How the first of two named objects lies to the second; nothing where a name does not pick out one object."""
    ones, others = _named(scene, *first), _named(scene, *second)
    if len(ones) != 1 or len(others) != 1:
        return {}
    (one,), (other,) = ones, others
    sides = {"across": (one.column, other.column), "upright": (one.row, other.row)}
    return {"first": one.cell + 1} | {name: 1 if a < b else 2 if a > b else 0 for name, (a, b) in sides.items()}


def _facts_of_place(scene: Scene, place: str) -> dict[str, int]:
    here = next((item for item in scene.objects if item.place == place), None)
    if here is None:
        return {"kind": 0, "color": 0, "character": 0}
    known = _facts_of_object(here)
    return {name: known[name] for name in ("kind", "color", *_OF_WRITTEN) if name in known}


def _facts_of_object(item: SceneObject) -> dict[str, int]:
    text = item.text or item.badge
    codes = dict(zip(CODE_FACTS, (_CHARACTER_NUMBERS[character] for character in text[1:]), strict=False))
    return {
        "character": _CHARACTER_NUMBERS[text[0]] if text else 0,
        "kind": KINDS.index(item.kind) + 1,
        "color": ALL_COLORS.index(item.color) + 1,
        "cell": item.cell + 1,
        **_characters_in(text),
        **codes,
    }


def _characters_in(text: str) -> dict[str, int]:
    """Of every character whether it is there; nothing where nothing is written."""
    return {f"has {character}": int(character in text) for character in CHARACTERS} if text else {}


def _kinds_and_colors(scene: Scene) -> dict[str, int]:
    kinds, colors = {item.kind for item in scene.objects}, {item.color for item in scene.objects}
    return {f"has a {kind}": int(kind in kinds) for kind in KINDS} | {
        f"has {color}": int(color in colors) for color in ALL_COLORS
    }
