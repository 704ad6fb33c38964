"""What a cached result depends on, as a few characters of a digest: values, files, and code but for its comments."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import fitprune_core
from fitprune_core.pruning.methods import Method

LENGTH = 12
# The rooms and files of the library whose code decides what a prompt is and what a model makes of it; what an answer
# is, what it costs and whether it is right, as the model is and pruned; what follows it; and what statistics are. A
# change in any of them answers, or observes, anew.
PROMPTS = (
    "models", "models/families", "models/llava_hr", "run/asked.py", "run/pictures.py", "run/pixels.py",
    "run/orientation.py", "run/questions.py",
)  # fmt: skip
ANSWERS = (
    *PROMPTS, "cost", "run/answer.py", "run/batch.py", "run/costs.py", "run/decoding.py", "run/generation.py",
    "run/results.py", "run/seen.py", "evaluation/evaluation.py", "evaluation/table.py",
)  # fmt: skip
PRUNED = (*ANSWERS, "pruning", "recipes/budget.py", "recipes/recipe.py", "recipes/schedules.py")
NEXT_TOKENS = (*PROMPTS, "run/next_tokens.py")
OBSERVED = (*PROMPTS, "calibration/observe.py", "pruning/attention.py")
_LIBRARY = Path(fitprune_core.__file__).parent


def digest_of(*parts: object) -> str:
    """A digest of values, by their texts."""
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]


@cache
def code_digest(*paths: Path) -> str:
    """A digest of what Python files do: comments, blank lines and docstrings change nothing."""
    return digest_of(*(ast.dump(_without_docstrings(path)) for path in sorted(paths)))


def room_digest(*rooms: str) -> str:
    """A digest of the files right in some rooms of the library ("pruning"), or of single ones ("recipes/fit.py")."""
    paths = [_LIBRARY / room for room in rooms]
    return code_digest(*(file for path in paths for file in ([path] if path.suffix else sorted(path.glob("*.py")))))


def method_digest(method: Method) -> str:
    """A digest of a method: its options, the code of its class and of those above it, and of what runs any method."""
    classes = [each for each in type(method).__mro__ if issubclass(each, Method)]
    files = {Path(inspect.getfile(each)) for each in classes}
    return digest_of(method.label, code_digest(*files), room_digest(*PRUNED))


def files_digest(paths: Iterable[Path]) -> str:
    """A digest of the content of files, in their order."""
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:LENGTH]


def _without_docstrings(path: Path) -> ast.Module:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            node.body = body[1:]  # type: ignore[attr-defined]
    return tree
