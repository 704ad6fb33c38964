"""What people call the ways to answer: the same in pictures and in browsers."""

from __future__ import annotations

import json
import re

import pytest

from fitprune_core import METHODS
from fitprune_core.report.export import VIEW
from fitprune_core.report.names import NAMES, called
from fitprune_core.run.results import ORIGINAL


def test_every_method_has_a_name_and_browsers_have_the_same():
    assert set(NAMES) == {ORIGINAL, *METHODS}
    script = (VIEW / "shared.js").read_text(encoding="utf-8")
    table = script[script.index("const NAMES") : script.index("};", script.index("const NAMES"))]
    told = {quoted or bare: name for quoted, bare, name in re.findall(r'(?:"([^"]+)"|(\w+)): "([^"]+)"', table)}
    assert told == NAMES, json.dumps(told)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("original", "Original"),
        ("random(seed=1) 60 %", "Random(seed=1) 60 %"),
        ("fastv:layer=2", "FastV:layer=2"),
        ("fitprune+ 60 %, painted", "FitPrune+ 60 %, painted"),
        ("somebodys", "somebodys"),
        ("", ""),
    ],
)
def test_options_and_budgets_stay_as_they_are(label, name):
    assert called(label) == name
