"""Questions as people hand them over, turned into what a model takes or refused with a sentence."""

from __future__ import annotations

MAX_QUESTION_CHARACTERS = 2_000
# What stands for the picture in LLaVA's data.
IMAGE_MARKER = "<image>"


def strip_image_marker(text: str, marker: str = IMAGE_MARKER) -> str:
    """A question without white space and image markers in front of it and after it; amid the text they are text.

    Data sets in LLaVA's form mark by `<image>` where the picture stands, which the chat template says by itself.
    marker: what they mark it by.
    """
    parts = text.split(marker)
    filled = [at for at, part in enumerate(parts) if part.strip()]
    return marker.join(parts[filled[0] : filled[-1] + 1]).strip() if filled else ""


def check_question(text: str, longest: int = MAX_QUESTION_CHARACTERS) -> str:
    """A question without the white space, and the image markers, around it.

    longest: most characters that it may have. Raises ValueError for one that is empty, longer, or no valid text.
    """
    if not isinstance(text, str):
        raise ValueError(f"the question must be a text, not {type(text).__name__}")
    question = strip_image_marker(text)
    if not question:
        raise ValueError("the question is empty; ask something about the picture")
    if len(question) > longest:
        raise ValueError(f"the question has {len(question):,} characters; it may have up to {longest:,}")
    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start + 1} of the question is not valid Unicode") from error
    return question
