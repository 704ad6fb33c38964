"""What visitors read: an error as a sentence, without the server's folders in it, and how long something takes."""

from __future__ import annotations

import logging
import re

from fitprune_core.checks.words import plural

logger = logging.getLogger(__name__)

# An absolute path of at least one folder: in quotes up to their end, whatever is in its names; else up to what cannot
# be in a name or ends a sentence. Not the path of a URL, but that of a file's.
_BEGIN = r"(?:file:/?/?)?(?:[A-Za-z]:)?[/\\]"
_QUOTED = re.compile(rf"(?<=['\"`]){_BEGIN}(?:[^'\"`/\\]+[/\\])+(?=[^'\"`/\\]*['\"`])")
_FOLDERS = re.compile(rf"(?<![\w:/.]){_BEGIN}(?:[^\s/\\'\"`:;,()\[\]]+[/\\])+")


def sentence(error: BaseException | str) -> str:
    """An error as a sentence: a capital first, a full stop at the end, and of every path its last part alone."""
    text = _FOLDERS.sub("", _QUOTED.sub("", " ".join(str(error).split()))) or type(error).__name__
    first = text.split()[0]
    begin = first.capitalize() if first.islower() and first.isalpha() else first  # a file keeps its name
    return begin + text[len(first) :] + ("" if text.endswith((".", "!", "?")) else ".")


def failure(error: Exception, what: str, more: str = "") -> str:
    """Why what somebody asked of the model ended, as sentences for them.

    A ValueError or a MemoryError names what they can change. Any other is a fault of the model's or of the app's: it is
    called so, followed by `more`, and the log has its trace under `what`, such as "a sweep".
    """
    if isinstance(error, ValueError | MemoryError):
        return sentence(error)
    logger.error("%s failed", what, exc_info=error)
    return f"The model failed: {sentence(error)} {more}".rstrip()


def counted(number: int, what: str = "question") -> str:
    """ "1 question", "2,159 questions"."""
    return f"{number:,} {plural(what, number)}"


def duration(seconds: float) -> str:
    """ "12 s", or "3 min" from a minute and a half on."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
