"""A digest of code is of what it does: the same for the same, another wherever something else would be computed."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fitprune_core.models.others_code import code_digest, name_of, package_of
from fitprune_core.pruning.methods import Method

SOURCE = """
import torch
STRENGTH = 3
def helper(values):
    return values * STRENGTH
class Base:
    power = 2
    def raised(self, values):
        return values**self.power
class Mine(Base):
    names = {"b", "a", "c"}
    def importance(self, attention, candidates, first=True):
        scores = [helper(token) for token in candidates.tokens if token not in {"x", "y"}]
        return self.raised(scores)
"""


def digest_of(source: str) -> str:
    """The digest of the class that a module of this text defines."""
    module = {"__name__": "somebodys"}
    exec(textwrap.dedent(source), module)
    return code_digest(module["Mine"])


def test_places_and_comments_change_nothing():
    moved = "# A word.\n\n\n" + SOURCE.replace("        return self", "        # Another.\n        return self")
    assert digest_of(moved) == digest_of(SOURCE)


@pytest.mark.parametrize(
    "old, new",
    [
        ("self.raised(scores)", "self.raised(-scores)"),  # the method
        ("[helper(token)", "[helper(token + 1)"),  # within a comprehension
        ("first=True", "first=False"),  # a default
        ("power = 2", "power = 3"),  # what a base class says
        ("values**self", "values*self"),  # what it does
        ("values * STRENGTH", "values + STRENGTH"),  # a function beside it
        ("STRENGTH = 3", "STRENGTH = 4"),  # a number that this uses
        ('names = {"b"', 'names = {"d"'),  # a set
    ],
)
def test_whatever_computes_something_else_is_other_code(old, new):
    assert SOURCE.count(old) == 1
    assert digest_of(SOURCE.replace(old, new)) != digest_of(SOURCE)


@pytest.mark.slow
def test_every_process_finds_the_same():
    """Whose sets have their texts in another order, and whose objects lie elsewhere."""
    program = f"from tests.models.test_others_code import *; print(digest_of({SOURCE!r}), code_digest(Optional))"
    for seed in "12":
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert found.stdout.split() == [digest_of(SOURCE), code_digest(Optional)], found.stderr


@dataclass(frozen=True)
class Optional(Method):
    """A method of one's own with an option."""

    seed: int = 0
    name = "optional"
    scores = "none"

    def importance(self, attention, candidates):
        return candidates.tokens.float() * self.seed


def test_vectors_are_told_apart_wherever_they_lie():
    def steering(vectors):
        return lambda module, args, output: output + vectors[1]["late"]

    made = [
        lambda: [0, {"late": torch.ones(4)}],
        lambda: [0, {"late": torch.zeros(4)}],
        lambda: [0, {"late": np.ones(4)}],
        lambda: [0, {"late": np.zeros(4)}],
        lambda: (0, {"early": np.zeros(4)}),
    ]
    digests = [code_digest(steering(make())) for make in made]
    assert len({*digests}) == 5 and [code_digest(steering(make())) for make in made] == digests


def test_two_classes_of_one_name_in_one_file_are_told_apart():
    def made(sign):
        class Mine(Method):
            def importance(self, attention, candidates):
                return sign * candidates.tokens

        return Mine

    assert code_digest(made(1)) != code_digest(made(-1)) and code_digest(made(1)) == code_digest(made(1))


def test_what_refers_to_itself_comes_to_an_end():
    class Steering:
        def __init__(self, strength):
            self.strength, self.again, self.own = strength, self, self.__call__

        def __call__(self, module, args, output):
            return self.own(module, args, output * self.strength)

    def round_and_round(values):
        return round_and_round(values, endless)

    endless = []
    endless.append(endless)

    assert code_digest(Steering(2)) == code_digest(Steering(2)) != code_digest(Steering(3))
    assert code_digest(Steering(2).own) == code_digest(Steering(2).own) != code_digest(Steering(3).own)
    assert code_digest(round_and_round) == code_digest(round_and_round)


def test_wrappers_do_not_hide_whose_code_runs():
    wrapped = functools.wraps(torch.nn.Linear.forward)(lambda *args: None)
    assert package_of(wrapped) == package_of(functools.partial(wrapped)) == "tests" and "<lambda>" in name_of(wrapped)
    assert package_of(torch.nn.Linear(2, 2).forward) == "torch"
    assert name_of(torch.nn.Linear(2, 2).forward) == "Linear.forward"
    assert code_digest(functools.partial(wrapped, 1)) != code_digest(functools.partial(wrapped, 2))
