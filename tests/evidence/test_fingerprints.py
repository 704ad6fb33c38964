"""What changes a fingerprint, and what does not."""

from __future__ import annotations

import importlib.util

from app.evidence.fingerprints import code_digest, digest_of, files_digest, method_digest, room_digest
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


def test_words_about_a_method_change_nothing_and_what_it_does_everything(tmp_path):
    path = tmp_path / "a_method_of_a_test.py"
    first = digest_of_method(path, words="One.", factor=1)
    assert digest_of_method(path, words="Quite another explanation.", factor=1) == first
    assert digest_of_method(path, words="One.", factor=2) != first


def test_options_are_part_of_a_method():
    digests = {method_digest(find_method(name)) for name in ("random", "random:seed=1", "uniform", "fitprune")}
    assert len(digests) == 4 and method_digest(find_method("random")) in digests


def test_values_files_and_rooms(tmp_path):
    assert digest_of("ab", "c") != digest_of("a", "bc") and digest_of(1, 2) == digest_of("1", "2")
    one, other = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"x")
    other.write_bytes(b"y")
    assert files_digest([one, other]) != files_digest([other, one])
    assert room_digest("cost") != room_digest("recipes") and room_digest("recipes/fit.py") != room_digest("recipes")
