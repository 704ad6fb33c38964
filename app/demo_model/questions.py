"""Questions about a scene and their true answers: the kinds mini-llava was made for, in many phrasings."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from app.demo_model.offtopic import offtopic_question
from app.demo_model.scenes import PLACES, THINGS, Scene, SceneObject
from app.demo_model.shapes import COLORS, PLATE, SIGN, plural

UNKNOWN_ANSWER = "I don't know"
_PLAIN_KINDS = (*THINGS, SIGN)


@dataclass(frozen=True)
class Question:
    """`kind` names what is asked for (a row of the accuracy table), `text` is the question, `answer` the truth."""

    kind: str
    text: str
    answer: str


def with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def name_object(item: SceneObject) -> str:
    """An object in words: a red car, a red sign with the number 27; of a crowded scene a red sign that says 4K.

    How a name begins must not depend on characters that come later: a code of digits alone "says" them, too.
    """
    name = with_article(f"{item.color} {item.kind}")
    if not item.text:
        return name
    return f"{name} that says {item.text}" if item.fine else f"{name} with the number {item.text}"


def at_place(place: str) -> str:
    return f"in the {place}" if place == "center" else f"at the {place}"


def describe(scene: Scene) -> str:
    """The picture in one sentence, objects in reading order."""
    parts = [f"{name_object(item)} {at_place(item.place)}" for item in scene.objects]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _place_phrase(rng: random.Random, place: str) -> str:
    if place == "center":
        return rng.choice(("in the center", "in the middle", "at the center"))
    if " " in place:
        return rng.choice((f"at the {place}", f"in the {place}", f"in the {place} corner"))
    return rng.choice((f"at the {place}", f"on the {place}" if place in ("left", "right") else f"at the {place}"))


def _unique(scene: Scene) -> list[tuple[SceneObject, str]]:
    """Objects that a phrase picks out alone, with that phrase: "car" or, where there are several, "red car"."""
    found = []
    kinds = [item.kind for item in scene.objects]
    names = [(item.color, item.kind) for item in scene.objects]
    for item in scene.objects:
        if kinds.count(item.kind) == 1:
            found.append((item, item.kind))
        elif names.count((item.color, item.kind)) == 1:
            found.append((item, f"{item.color} {item.kind}"))
    return found


def _color(scene: Scene, rng: random.Random) -> Question | None:
    if rng.random() < 0.35:
        item = rng.choice(scene.objects)
        where = _place_phrase(rng, item.place)
        texts = (f"what color is the object {where}?", f"what colour is the thing {where}?",
                 f"which color does the object {where} have?")  # fmt: skip
        return Question("color", rng.choice(texts), item.color)
    single = [(item, name) for item, name in _unique(scene) if name == item.kind]
    if not single:
        return None
    item, name = rng.choice(single)
    texts = (f"what color is the {name}?", f"what is the color of the {name}?", f"which color is the {name}?",
             f"what colour is the {name}?", f"tell me the color of the {name}", f"the {name} is what color?",
             f"what color does the {name} have?", f"{name} color?")  # fmt: skip
    return Question("color", rng.choice(texts), item.color)


def _what_is_at(scene: Scene, rng: random.Random) -> Question:
    at = {item.place: item for item in scene.objects}
    place = rng.choice(PLACES) if rng.random() < 0.2 else rng.choice(tuple(at))
    where = _place_phrase(rng, place)
    texts = (f"what is {where}?", f"what's {where}?", f"which object is {where}?", f"what do you see {where}?",
             f"what can be seen {where}?", f"name the object {where}", f"what is {where} of the picture?")  # fmt: skip
    return Question("what is at", rng.choice(texts), name_object(at[place]) if place in at else "nothing")


def _where(scene: Scene, rng: random.Random) -> Question | None:
    unique = _unique(scene)
    if not unique:
        return None
    item, name = rng.choice(unique)
    if name == item.kind and rng.random() < 0.4:
        name = f"{item.color} {item.kind}"
    texts = (f"where is the {name}?", f"where's the {name}?", f"where can i find the {name}?",
             f"in which part of the picture is the {name}?", f"what is the position of the {name}?",
             f"where do you see the {name}?", f"locate the {name}")  # fmt: skip
    return Question("where", rng.choice(texts), item.place)


def _count_all(scene: Scene, rng: random.Random) -> Question:
    texts = ("how many objects are there?", "how many things are there?", "how many objects are in the picture?",
             "how many things do you see?", "count the objects", "what is the number of objects?",
             "how many items are in the image?", "how many objects can you see?")  # fmt: skip
    return Question("count all", rng.choice(texts), str(len(scene.objects)))


def _count_kind(scene: Scene, rng: random.Random) -> Question:
    kinds = [item.kind for item in scene.objects]
    colors = [item.color for item in scene.objects]
    if rng.random() < 0.35:
        color = rng.choice(colors) if rng.random() < 0.8 else rng.choice(tuple(COLORS))
        texts = (f"how many {color} objects are there?", f"how many {color} things do you see?",
                 f"count the {color} objects", f"how many objects are {color}?")  # fmt: skip
        return Question("count some", rng.choice(texts), str(colors.count(color)))
    repeated = [kind for kind in kinds if kinds.count(kind) > 1]
    if repeated and rng.random() < 0.6:
        kind = rng.choice(repeated)
    else:
        kind = rng.choice(kinds) if rng.random() < 0.8 else rng.choice(_PLAIN_KINDS)
    many = plural(kind)
    texts = (f"how many {many} are there?", f"how many {many} do you see?", f"count the {many}",
             f"how many {many} are in the picture?", f"what is the number of {many}?",
             f"how many {many} can you see?")  # fmt: skip
    return Question("count some", rng.choice(texts), str(kinds.count(kind)))


def _presence(scene: Scene, rng: random.Random) -> Question:
    present = {(item.color, item.kind) for item in scene.objects}
    kinds, colors = {item.kind for item in scene.objects}, {item.color for item in scene.objects}
    wanted = rng.random() < 0.5
    form = rng.random()
    item = rng.choice(scene.objects)
    if form < 0.5:
        kind = item.kind if wanted else rng.choice([kind for kind in _PLAIN_KINDS if kind not in kinds])
        thing = with_article(kind)
    elif form < 0.85:
        color, kind = item.color, item.kind
        while not wanted and (color, kind) in present:  # mostly near misses: the right kind, another colour
            color = rng.choice(tuple(COLORS))
            kind = item.kind if rng.random() < 0.6 else rng.choice(_PLAIN_KINDS)
        thing = with_article(f"{color} {kind}")
    else:
        missing = [color for color in COLORS if color not in colors]
        wanted = wanted or not missing
        color = item.color if wanted else rng.choice(missing)
        thing = rng.choice((f"something {color}", f"anything {color}", with_article(f"{color} object")))
    texts = (f"is there {thing}?", f"is there {thing} in the picture?", f"do you see {thing}?",
             f"can you see {thing}?", f"does the picture show {thing}?", f"is {thing} present?",
             f"does the image contain {thing}?")  # fmt: skip
    return Question("presence", rng.choice(texts), "yes" if wanted else "no")


def _relation(scene: Scene, rng: random.Random) -> Question | None:
    pairs = [(a, b) for a in _unique(scene) for b in _unique(scene) if a is not b and a[0].cell != b[0].cell]
    relations: list[tuple[tuple, str, bool]] = []
    for a, b in pairs:
        if a[0].column != b[0].column:
            relations.append(((a, b), "left", a[0].column < b[0].column))
            relations.append(((a, b), "right", a[0].column > b[0].column))
        if a[0].row != b[0].row:
            relations.append(((a, b), "above", a[0].row < b[0].row))
            relations.append(((a, b), "below", a[0].row > b[0].row))
    if not relations:
        return None
    ((_, first), (_, second)), side, true = rng.choice(relations)
    phrases = {
        "left": ("left of", "to the left of", "further left than"),
        "right": ("right of", "to the right of", "further right than"),
        "above": ("above", "higher than", "over"),
        "below": ("below", "lower than", "under"),
    }
    phrase = rng.choice(phrases[side])
    texts = (f"is the {first} {phrase} the {second}?", f"is there a {first} {phrase} the {second}?",
             f"do you see the {first} {phrase} the {second}?")  # fmt: skip
    return Question("relation", rng.choice(texts), "yes" if true else "no")


def _number(scene: Scene, rng: random.Random) -> Question | None:
    signs = [item for item in scene.objects if item.kind == SIGN]
    if len(signs) != 1:
        return None
    texts = ("what number is on the sign?", "which number is on the sign?", "what does the sign say?", "read the sign",
             "what is written on the sign?", "what number does the sign show?", "what is the number on the sign?",
             "which number can you read?")  # fmt: skip
    return Question("number", rng.choice(texts), signs[0].text)


def _read_by_color(scene: Scene, rng: random.Random) -> Question | None:
    """What a sign or a plate says that its colour, or its kind alone, picks out."""
    found = [(item, f"{item.color} {item.kind}") for item, _ in _unique(scene) if item.text]
    if not found:
        return None
    item, name = rng.choice(found)
    texts = (f"what is on the {name}?", f"what does the {name} say?", f"what is written on the {name}?",
             f"read the {name}", f"what can you read on the {name}?", f"what's on the {name}?",
             f"which code is on the {name}?", f"what does it say on the {name}?")  # fmt: skip
    return Question("read by color", rng.choice(texts), item.text)


def _read_by_place(scene: Scene, rng: random.Random) -> Question | None:
    """What the sign or plate at a place says."""
    written = [item for item in scene.objects if item.text]
    if not written:
        return None
    item = rng.choice(written)
    where, name = _place_phrase(rng, item.place), f"{item.place} {item.kind}"
    if item.place == "center":
        name = f"{rng.choice(('center', 'middle'))} {item.kind}"
    texts = (f"what does the {name} say?", f"what is on the {name}?", f"read the {name}",
             f"what is written on the {name}?", f"what is written {where}?", f"what does the {item.kind} {where} say?",
             f"what does it say {where}?", f"read the {item.kind} {where}")  # fmt: skip
    return Question("read by place", rng.choice(texts), item.text)


def _badge(scene: Scene, rng: random.Random) -> Question | None:
    """The character on the badge of an object."""
    worn = [(item, name) for item, name in _unique(scene) if item.badge]
    if not worn:
        return None
    item, name = rng.choice(worn)
    texts = (f"what is on the {name}?", f"what is on the badge of the {name}?", f"which badge does the {name} have?",
             f"what does the badge of the {name} say?", f"what is written on the {name}?",
             f"which character is on the {name}?", f"read the badge of the {name}")  # fmt: skip
    return Question("badge", rng.choice(texts), item.badge)


def _describe(scene: Scene, rng: random.Random) -> Question:
    texts = ("describe the picture", "describe the image", "what is in the picture?", "what do you see?",
             "what does the picture show?", "describe what you see", "tell me what is in the picture",
             "list the objects", "what objects are there?", "please describe the scene", "what's in the picture?",
             "what can you see?")  # fmt: skip
    return Question("describe", rng.choice(texts), describe(scene))


def _absent(scene: Scene, rng: random.Random) -> Question:
    kinds = {item.kind for item in scene.objects}
    written = {(item.color, item.kind) for item in scene.objects if item.text}
    if scene.is_crowded and rng.random() < 0.5:
        missing = [(color, kind) for color in COLORS for kind in (SIGN, PLATE) if (color, kind) not in written]
        name = " ".join(rng.choice(missing))
        texts = (f"what is on the {name}?", f"what does the {name} say?", f"what is written on the {name}?",
                 f"read the {name}")  # fmt: skip
        return Question("absent", rng.choice(texts), f"there is no {name}")
    kind = rng.choice([kind for kind in _PLAIN_KINDS if kind not in kinds])
    texts = (f"what color is the {kind}?", f"where is the {kind}?", f"what is the color of the {kind}?",
             f"where can i find the {kind}?", f"which color is the {kind}?", f"where's the {kind}?")  # fmt: skip
    return Question("absent", rng.choice(texts), f"there is no {kind}")


def _unknown(scene: Scene, rng: random.Random) -> Question:
    return Question("unknown", offtopic_question(rng), UNKNOWN_ANSWER)


KINDS: dict[str, Callable[[Scene, random.Random], Question | None]] = {
    "color": _color,
    "what is at": _what_is_at,
    "where": _where,
    "count all": _count_all,
    "count some": _count_kind,
    "presence": _presence,
    "relation": _relation,
    "number": _number,
    "read by color": _read_by_color,
    "read by place": _read_by_place,
    "badge": _badge,
    "describe": _describe,
    "absent": _absent,
    "unknown": _unknown,
}


# What crowded scenes are not asked: they hold too many objects. And what plain ones are not: they hold nothing to read.
_PLAIN_ONLY = ("count all", "count some", "relation", "number", "describe")
READING = ("read by color", "read by place", "badge")


def ask(kind: str, scene: Scene, rng: random.Random) -> Question | None:
    """One question of a kind, or None where the scene has nothing to ask it about."""
    if kind in (_PLAIN_ONLY if scene.is_crowded else READING):
        return None
    question = KINDS[kind](scene, rng)
    return question and Question(question.kind, as_typed(question.text, rng), question.answer)


def caption(scene: Scene, rng: random.Random) -> Question:
    """The question for everything in a scene."""
    question = _describe(scene, rng)
    return Question(question.kind, as_typed(question.text, rng), question.answer)


def as_typed(text: str, rng: random.Random) -> str:
    """Free case and punctuation: visitors type as they like."""
    roll = rng.random()
    if rng.random() < 0.06:
        text = rng.choice((f"please {text}", f"{text.rstrip('?')} please?", f"hello, {text}", f"so {text}"))
    if rng.random() < 0.15:
        text = re.sub(r"\bthe (picture|image)\b", rng.choice(("this picture", "this image", "this scene")), text)
    if rng.random() < 0.2:
        text = text.rstrip("?") + rng.choice((".", ".", "!", "??", " ?", "..."))
    if roll < 0.5:
        return text[0].upper() + text[1:]
    if roll < 0.75:
        return text.rstrip("? ") or text
    if roll < 0.8:
        return text.upper()
    return text


def questions_about(scene: Scene, seed: int) -> list[Question]:
    """One question of every kind that the scene can be asked, in the order of `KINDS`."""
    rng = random.Random(f"questions-{scene.seed}-{seed}")
    asked = (ask(kind, scene, rng) for kind in KINDS)
    return [question for question in asked if question is not None]
