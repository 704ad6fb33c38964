"""A picture and a question, as anybody hands them over, made ready for a model: the one way to a prompt."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from fitprune_core.run.answer import prepare
from fitprune_core.run.pixels import load_rgb
from fitprune_core.run.questions import MAX_QUESTION_CHARACTERS, check_question

# Characters of a question out of a data set; whether it fits is for the model's context to say.
LONGEST_OF_DATA = 100_000


class Prepared(NamedTuple):
    """The picture as RGB, upright; the question without what is around it; both as the model's inputs, on the CPU."""

    picture: Image.Image
    question: str
    inputs: BatchFeature


def as_asked(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    picture: Image.Image,
    question: str,
    *,
    longest: int = MAX_QUESTION_CHARACTERS,
    max_new_tokens: int = 0,
) -> Prepared:
    """Make a picture (see `load_rgb`) and a question of at most `longest` characters (see `check_question`) ready.

    Raises ValueError for what these two refuse, and for a prompt that is too long for the model together with an answer
    of `max_new_tokens`.
    """
    question, picture = check_question(question, longest), load_rgb(picture)
    return Prepared(picture, question, prepare(model, processor, picture, question, max_new_tokens=max_new_tokens))
