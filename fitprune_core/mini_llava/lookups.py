"""A second, dense lesson for the decoder: a word that names something in the picture should know what is there.

Answers alone teach slowly: to say where the car is, the word "car" must find its patches and the end of the question
must find the word, and neither step pays before the other exists. So while training, the state of such a word
halfway up the decoder is also asked, by a linear head that is thrown away afterwards, for what stands there: for a
kind of object its place, colour and number, for a colour its number, for a place the kind and colour there.
 A little higher the end of the question is asked
for the same facts of what it was about.
"""

from __future__ import annotations

import re

import torch
from torch import nn

from fitprune_core.mini_llava.readouts import ReadOuts
from fitprune_core.mini_llava.scenes import MAX_OBJECTS, PLACES, Scene
from fitprune_core.mini_llava.shapes import COLORS, SHAPES, plural

FACTS = {"kind": len(SHAPES) + 1, "color": len(COLORS) + 1, "cell": len(PLACES) + 1, "count": MAX_OBJECTS + 1}
NOT_ASKED = -100
_KIND_OF_WORD = {word: kind for kind in SHAPES for word in (kind, plural(kind))}
_KIND_WORDS = re.compile(rf"\b({'|'.join(sorted(_KIND_OF_WORD, key=len, reverse=True))})\b")
_COLOR_WORDS = re.compile(rf"\b({'|'.join(COLORS)})\b")
_PLACE_WORDS = re.compile(rf"\b(?:at|in|on) the ({'|'.join(sorted(PLACES, key=len, reverse=True))}|middle)\b")


def lookups(scene: Scene, text: str) -> list[tuple[int, dict[str, int]]]:
    """What each naming word of `text` should know: (position of its last character, {fact: value}); 0 is "nothing"."""
    text = text.lower()
    found = [(match.end() - 1, _facts_of_kind(scene, match.group(1))) for match in _KIND_WORDS.finditer(text)]
    for match in _COLOR_WORDS.finditer(text):
        found.append((match.end() - 1, {"count": sum(item.color == match.group(1) for item in scene.objects)}))
    for match in _PLACE_WORDS.finditer(text):
        found.append((match.end() - 1, _facts_of_place(scene, match.group(1).replace("middle", "center"))))
    return found


def asked_facts(scene: Scene, question: str) -> dict[str, int]:
    """What the end of a question should know: the one object or place that it names, and what is true of it."""
    text = question.lower()
    kinds, places = _KIND_WORDS.findall(text), _PLACE_WORDS.findall(text)
    if len(kinds) == 1 and not places:
        return _facts_of_kind(scene, kinds[0]) | {"kind": tuple(SHAPES).index(_KIND_OF_WORD[kinds[0]]) + 1}
    if len(places) == 1 and not kinds:
        place = places[0].replace("middle", "center")
        return _facts_of_place(scene, place) | {"cell": PLACES.index(place) + 1}
    return {}


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


def _facts_of_kind(scene: Scene, word: str) -> dict[str, int]:
    here = [item for item in scene.objects if item.kind == _KIND_OF_WORD[word]]
    facts = {"count": len(here)}
    if not here:
        facts |= {"cell": 0, "color": 0}
    elif len(here) == 1:
        facts |= {"cell": here[0].cell + 1, "color": tuple(COLORS).index(here[0].color) + 1}
    return facts


def _facts_of_place(scene: Scene, place: str) -> dict[str, int]:
    here = next((item for item in scene.objects if item.place == place), None)
    if here is None:
        return {"kind": 0, "color": 0}
    return {"kind": tuple(SHAPES).index(here.kind) + 1, "color": tuple(COLORS).index(here.color) + 1}
