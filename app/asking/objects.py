"""Of a scene, the patches of what is asked about: where pruning hurts most, if it takes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.asking.scenes import KnownAnswer, asked_objects
from app.demo_model.scenes import SceneObject
from app.demo_model.shapes import plural
from app.parts.scrubber import AskedObject, Trace

_MOST_KINDS = 3  # that are named


def with_asked_object(trace: Trace, seed: int | KnownAnswer | None, question: str) -> Trace:
    """A trace that marks the patches of what a question about the scene of a seed names; as it is, where there is none.

    A scene fills the largest square in the middle of its picture. A patch is an object's if its middle lies in its box.
    """
    objects = asked_objects(seed, question)
    side = min(trace.width, trace.height)
    left, top = (trace.width - side) / 2, (trace.height - side) / 2
    tokens = []
    for token, box in enumerate(trace.boxes):
        if box is None:
            continue
        x, y = ((box[0] + box[2]) / 2 - left) / side, ((box[1] + box[3]) / 2 - top) / side
        if any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in (item.box for item in objects)):
            tokens.append(token)
    if not tokens:
        return trace
    return trace.model_copy(update={"asked": AskedObject(name=_name(objects), tokens=tokens)})


def _name(objects: Sequence[SceneObject]) -> str:
    """ "star", "umbrellas", "key and clock": no colour, which may be what is asked for."""
    kinds = Counter(item.kind for item in objects)
    if len(kinds) > _MOST_KINDS:
        return f"{len(objects)} objects"
    return " and ".join(plural(kind) if count > 1 else kind for kind, count in kinds.items())
