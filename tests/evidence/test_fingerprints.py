"""What changes a fingerprint, and what does not."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

import fitprune_core
from app.evidence.fingerprints import PRUNED, code_digest, digest_of, files_digest, method_digest, room_digest
from fitprune_core.pruning.methods import find_method

METHOD = '''"""A method."""

from dataclasses import dataclass

from fitprune_core.pruning.methods.fitprune import FitPrune


@dataclass(frozen=True, kw_only=True)
class Other(FitPrune):
    """{words}"""

    name = "other"

    def importance(self, attention, candidates):
        # {words}
        return {factor} * super().importance(attention, candidates)
'''


def digest_of_method(path, **written) -> str:
    path.write_text(METHOD.format(**written))
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    import sys

    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    code_digest.cache_clear()
    return method_digest(module.Other())


@pytest.mark.slow
def test_words_about_a_method_change_nothing_and_what_it_does_everything(tmp_path):
    path = tmp_path / "a_method_of_a_test.py"
    first = digest_of_method(path, words="One.", factor=1)
    assert digest_of_method(path, words="Quite another explanation.", factor=1) == first
    assert digest_of_method(path, words="One.", factor=2) != first


@pytest.mark.slow
def test_options_are_part_of_a_method():
    digests = {method_digest(find_method(name)) for name in ("random", "random:seed=1", "uniform", "fitprune")}
    assert len(digests) == 4 and method_digest(find_method("random")) in digests


@pytest.mark.slow
def test_all_code_that_an_answer_needs_is_part_of_its_fingerprint():
    """A module that decides an answer, its cost or whether it is right, and is in no room, would serve old ones."""
    library = Path(fitprune_core.__file__).parent
    rooms = [library / room for room in PRUNED]
    known = {path for room in rooms for path in ([room] if room.suffix else room.glob("*.py"))}
    # A method's files are in its own digest and a recipe in its variant's; the others carry, refuse, load or wait.
    others = ("pruning/methods", "checks", "samples", "run/timing", "recipes/store", "recipes/published")
    others += ("evaluation/significance",)  # intervals of the sums that are printed
    others += ("recipes/fit", "recipes/statistics", "recipes/lowest_runs", "recipes/shipped", "recipes/token_groups")
    needed, waiting = set(), [library / "evaluation" / "evaluation.py"]
    while waiting:
        path = waiting.pop()
        if path in needed:
            continue
        needed.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fitprune_core."):
                found = library.parent / (node.module.replace(".", "/") + ".py")
                waiting += [found] if found.is_file() else [found.with_suffix("") / "__init__.py"]
    unknown = {str(path.relative_to(library)) for path in needed - known}
    assert not {name for name in unknown if not name.startswith(others) and not name.endswith("__init__.py")}


def test_values_files_and_rooms(tmp_path):
    assert digest_of("ab", "c") != digest_of("a", "bc") and digest_of(1, 2) == digest_of("1", "2")
    one, other = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"x")
    other.write_bytes(b"y")
    assert files_digest([one, other]) != files_digest([other, one])
    assert room_digest("cost") != room_digest("recipes") and room_digest("recipes/fit.py") != room_digest("recipes")
