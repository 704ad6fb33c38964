"""What the guide tells of three errors is so: every command's answer, and every figure, from the model again."""

from __future__ import annotations

import csv
import random
import re
import shlex
from collections import defaultdict
from functools import cache, cached_property
from operator import eq
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pytest

import fitprune_core as fp
from app.asking.objects import with_asked_object
from app.demo_model.crowded import scene_of
from app.demo_model.samples import write_samples
from app.parts.scrubber import Trace
from fitprune_core import DecoderGeometry
from fitprune_core.cli.main import COMMANDS
from fitprune_core.cli.options import command_parser
from fitprune_core.report.trace import trace_of
from fitprune_core.run.answer import UNPRUNED, Way
from fitprune_core.run.looking import look

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "assets" / "guide" / "errors.md").read_text(encoding="utf-8")
TEXT = " ".join(GUIDE.split())
SOME = 30  # of the patches that the guide says change nothing, all of which took minutes to try
PRUNED = 0.6  # the budget of the first and the third error; the second's is 0.8


def rows():
    """By id the rows of the table that the guide opens, by method and budget."""
    found = defaultdict(dict)
    with (ROOT / "assets" / "guide" / "errors.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found[row["id"]][row["method"], float(row["reduction"])] = row
    return found


ROWS = rows()


def lost(reduction: float, *kinds: str) -> list[dict]:
    """Rows that the original has right and FitPrune has not, of some kinds or of all."""
    return [
        sides
        for sides in ROWS.values()
        if sides["original", 0.0]["correct"] == "1" and sides["fitprune", reduction]["correct"] == "0"
        if not kinds or sides["original", 0.0]["kind"] in kinds
    ]


def commands():
    """Of each command of the guide its options, and what it answers."""
    text = GUIDE.replace("\\\n", " ")
    found = re.findall(r"^python -m fitprune_core (compare .*?)  # (.*?) \| (.*)$", text, re.MULTILINE)
    return [(command_parser(COMMANDS).parse_args(shlex.split(line)), first, second) for line, first, second in found]


@pytest.fixture(scope="module")
def mini():
    return fp.load_model("mini-llava")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """The folder that the guide's first command makes."""
    folder = tmp_path_factory.mktemp("errors")
    count, seed = map(int, re.search(r"make scenes OUT=scenes COUNT=(\d+) SEED=(\d+)", GUIDE).groups())
    write_samples(folder / "scenes", count, seed)
    return folder


@cache
def any_trace(model, processor) -> Trace:
    """A trace of a scene, of which the places of its patches count: they are the same in all."""
    picture, recipe = scene_of(0).draw(), fp.recipe_for("mini-llava", PRUNED)
    found = fp.compare(model, processor, picture, "What is it?", recipe, repeats=0)
    return Trace(**trace_of(found, picture, DecoderGeometry.from_config(model.config)))


class Case:
    """A row of the table, as the page shows it. patches: those of what is asked about."""

    def __init__(self, mini, number: int, reduction: float) -> None:
        self.mini, self.recipe = mini, fp.recipe_for("mini-llava", reduction)
        self.seed = 3_030_000_000 + number
        self.picture = scene_of(self.seed).draw()
        self.row = ROWS[f"30-{number}"]
        self.question = self.row["original", 0.0]["question"]
        asked = with_asked_object(any_trace(*mini), self.seed, self.question).asked
        self.patches = asked.tokens if asked else []

    @cached_property
    def found(self) -> fp.Comparison:
        return fp.compare(*self.mini, self.picture, self.question, self.recipe, repeats=0)

    def left(self, layer: int) -> int:
        """Patches of what is asked about that leave a layer, from 1."""
        return len({*self.patches} & {*self.found.kept[layer - 1]})

    def others(self) -> list[int]:
        return [token for token in range(256) if token not in self.patches]

    def gone(self) -> list[int]:
        return sorted({*range(256)} - {*self.found.kept[-1]})

    def answer(self, stay) -> str:
        model, processor = self.mini
        inputs = fp.build_inputs(processor, self.picture, self.question)
        with fp.prune_visual_tokens(model, self.recipe, stay=stay):
            output = model.generate(**inputs, max_new_tokens=64, do_sample=False)
        return processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()

    def look(self):
        """The lens where the answers part."""
        one, other = self.found.original.token_ids, self.found.pruned.token_ids
        at = next(at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        ways = (UNPRUNED, Way.of(self.recipe, "fitprune"))
        return look(*self.mini, self.picture, self.question, ways, one[:at]).sights

    def seen(self, sight, layer: int, patches) -> str:
        """The share of attention on patches at a layer, from 1, as the guide writes it."""
        return f"{100 * np.nansum(sight.attention[layer - 1][list(patches)]):.0f}"


def test_every_command_answers_what_the_guide_says(mini, scenes):
    found = commands()
    assert len(found) == 7
    for options, first, second in found:
        picture, recipe = fp.open_picture(scenes / options.image), fp.recipe_for("mini-llava", options.reduction)
        told = fp.compare(*mini, picture, options.question, recipe, stay=options.stay, repeats=0)
        assert (told.original.answer, told.pruned.answer) == (first, second)


def test_addresses_and_rows_are_those_of_the_commands(mini):
    links = re.findall(r"`/\?([^`]*)`", GUIDE)
    asked = [options for options, _, _ in commands() if not options.stay]
    for link, options in zip(links, asked, strict=True):
        given = dict(parse_qsl(link))
        number = int(given["scene"]) - 3_030_000_000
        sides = ROWS[f"30-{number}"]
        assert options.image.name == f"scene-{number:05}.png" == sides["original", 0.0]["image"]
        assert given["question"] == options.question == sides["original", 0.0]["question"]
        assert float(given["budget"]) / 100 == options.reduction and f"Row `30-{number}`" in GUIDE
        assert sides in lost(options.reduction)


def test_the_sign(mini):
    case = Case(mini, 409, PRUNED)
    told = next(options.stay for options, _, _ in commands() if options.stay)
    assert told == case.patches
    assert f"{case.left(2)} of 25 patches are left after layer 2, {case.left(4)} of 25 after layer 4" in TEXT
    first, second = (sight.likeliest[0] for sight in case.look())
    assert first[0] == "y" and first[2] > 0.999 and (second[0], f"{100 * second[2]:.1f}") == ("9", "99.8")
    rng = random.Random(0)
    assert {case.answer(rng.sample(case.others(), 25)) for _ in range(5)} == {"99"}


def test_all_signs(mini):
    """Kept signs are read again, all of them; as many other patches help hardly any."""
    every = len(lost(PRUNED))
    assert f"wrong**: {every} rows" in TEXT
    rng, mended, by_others = random.Random(0), 0, 0
    reading = lost(PRUNED, "read by color", "read by place")
    for sides in reading:
        row = sides["original", 0.0]
        case = Case(mini, int(row["id"].removeprefix("30-")), PRUNED)
        mended += fp.normalised(case.answer(case.patches)) == fp.normalised(row["expected"])
        others = rng.sample(case.others(), len(case.patches))
        by_others += fp.normalised(case.answer(others)) == fp.normalised(row["expected"])
    assert f"the {every} rows {len(reading)} read a sign" in TEXT
    assert f"**{mended} of {len(reading)}** are right" in TEXT and f"with as many others, {by_others}." in TEXT
    twice = sum(any(map(eq, said, said[1:])) for said in (sides["fitprune", PRUNED]["answer"] for sides in reading))
    assert f"In {twice} of the {len(reading)} a character is said twice in a row" in TEXT
    plus, chance = (sum(sides[name, PRUNED]["correct"] == "1" for sides in reading) for name in ("fitprune+", "random"))
    assert f"reads all {plus}; `random` reads {chance}." in TEXT


def test_the_house(mini):
    case = Case(mini, 124, 0.8)
    left = f"{case.left(1)} are left after layer 1, {case.left(2)} after layer 2 and to the end"
    assert f"of the house's {len(case.patches)} patches {left}" in TEXT and case.left(2) == case.left(12)
    first, second = case.look()
    assert f"the original `{first.likeliest[0][0]}` {100 * first.likeliest[0][2]:.1f} %" in TEXT
    (nothing, _, share), (a, _, less), *_ = second.likeliest
    assert f"FitPrune `{nothing}` {100 * share:.0f} %, `{a}` {100 * less:.0f} %" in TEXT
    looks = [case.seen(sight, 4, case.patches) for sight in (first, second)]
    assert f"house with {looks[0]} % of its attention, FitPrune with {looks[1]} %" in TEXT
    gone, elsewhere = case.gone(), [token for token in case.gone() if token not in case.patches]
    mends = [token for token in gone if token in case.patches and case.answer([token]) == "a red house"]
    assert f"Of the {len(gone)} that went, each was kept alone: {len(mends)} mend the answer" in TEXT
    assert not any(case.answer([token]) == "a red house" for token in random.Random(0).sample(elsewhere, SOME))
    assert all(case.row[name, 0.8]["correct"] == "1" for name in ("random", "fitprune+"))


def test_the_star(mini):
    case = Case(mini, 74, PRUNED)
    whole, rows_kept = (options.stay for options, _, _ in commands()[-2:])
    names = ("brown rocket", "yellow flower", "red star")
    traced = any_trace(*mini)
    objects = {name: with_asked_object(traced, case.seed, f"where is the {name}?").asked.tokens for name in names}
    left = {name: len({*tokens} & {*case.found.kept[-1]}) for name, tokens in objects.items()}
    assert whole == objects["red star"] and len({*whole} & {*case.found.kept[1]}) == left["red star"]
    assert f"{left['red star']} of the star's {len(whole)} patches are left after layer 2 and to the end" in TEXT
    assert f"of the other two objects {left['brown rocket']} and {left['yellow flower']}" in TEXT
    first, second = (sight.likeliest[0] for sight in case.look())
    assert f"goes on with `{first[0]}`, {100 * first[2]:.0f} %" in TEXT
    assert second[0] == "," and f"FitPrune with a comma, {100 * second[2]:.0f} %" in TEXT
    right, gone = case.found.original.answer, case.gone()
    assert f"nor does any of the {len(gone)} patches that went" in TEXT
    assert not any(case.answer([token]) == right for token in random.Random(0).sample(gone, SOME))
    shown = {token for tokens in objects.values() for token in tokens}
    ground, rng = [token for token in range(256) if token not in shown], random.Random(0)
    assert f"{len({*ground} & {*case.found.kept[-1]})} of {len(ground)} patches are left" in TEXT
    mended = sum(case.answer(rng.sample(ground, 32)) == right for _ in range(20))
    assert f"drawn at random 20 times, mends it {mended} times" in TEXT
    assert rows_kept == list(range(128, 160))  # rows 9 and 10, counted from 1
    told = lost(PRUNED, "describe")
    more = [sum(says(sides[name, at]["answer"]) * sign for name, at, sign in
                (("fitprune", PRUNED, 1), ("original", 0.0, -1))) for sides in told]  # fmt: skip
    right = {name: sum(sides[name, PRUNED]["correct"] == "1" for sides in told) for name in ("random", "fitprune+")}
    assert f"the {len(lost(PRUNED))} rows {len(told)} are descriptions" in TEXT
    many, few = sum(each > 0 for each in more), sum(each < 0 for each in more)
    assert f"{many} with an object too many and {few} with one too few" in TEXT
    assert f"has {right['random']} of the {len(told)} right, `fitprune+` {right['fitprune+']}:" in TEXT


def says(description: str) -> int:
    """How many objects a description names: each has its place."""
    return len(re.findall(r" (?:at|in) the ", description))
