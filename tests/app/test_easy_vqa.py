"""easy-VQA's test split as a source of questions for Inspect, with a stand-in for its optional package."""

from __future__ import annotations

import importlib.util

import pytest

from app.background.runs import EASY_VQA, Runs
from app.demo_model.easy_vqa import MISSING, spread_questions
from app.pages.inspect import InspectPage
from fitprune_core.evaluation.outcomes import read_results
from fitprune_core.samples.files import read_samples
from tests.app.fake_engine import FakeEngine
from tests.app.test_runs import wait_for
from tests.evidence.conftest import put_easy_vqa


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The lists that the package hands out: questions, answers, pictures; and where its pictures are."""
    put_easy_vqa(tmp_path, monkeypatch)
    import easy_vqa

    return easy_vqa.get_test_questions(), easy_vqa.get_test_image_paths()


@pytest.fixture
def without_package(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "easy_vqa" else find(name))


@pytest.mark.slow
def test_a_run_asks_questions_of_the_split_about_its_own_copies(tiny_engine, tmp_path, package):
    (questions, answers, pictures), paths = package
    run = wait_for(Runs(tiny_engine, tmp_path / "runs").ask(None, None, 3, [60], ["fitprune"], source=EASY_VQA))
    assert run.state == "done" and "easy-VQA" in run.plan.title
    samples = list(read_samples(run.folder / run.plan.samples))
    for sample, at in zip(samples, (0, 2, 4), strict=True):
        assert (sample.id, sample.question, sample.answer) == (f"easy-{at}", questions[at], answers[at])
        assert sample.image.read_bytes() == paths[pictures[at]].read_bytes()
        assert sample.image.resolve().is_relative_to(run.folder.resolve())
    asked = read_results(run.results).questions
    assert [(each.text, each.expected, each.kind) for each in asked] == [
        (sample.question, sample.answer, "shape") for sample in samples
    ]


def test_kinds_follow_from_answers(package):
    found, total = spread_questions(6)
    assert total == len(found) == 6
    assert {asked.kind for asked in found if asked.answer == "no"} == {"yes or no"}


def test_the_questions_are_spread_over_the_split():
    pytest.importorskip("easy_vqa")
    found, total = spread_questions(100)
    at = [int(asked.id.removeprefix("easy-")) for asked in found]
    assert len(at) == 100 and at[-1] > 0.97 * total
    assert max(b - a for a, b in zip(at, at[1:], strict=False)) <= total / 100
    assert {asked.kind for asked in found} == {"yes or no", "shape", "color"}


def test_where_the_package_is_missing_a_run_says_how_to_get_it_and_leaves_nothing(tmp_path, without_package):
    page = InspectPage(FakeEngine(), Runs(FakeEngine(), tmp_path / "runs"))
    page.parts = type("Parts", (), {"notice": "notice", "timer": "timer"})
    told = page.begin(None, EASY_VQA, 10, ["fitprune"], [], [60], "", "", _Request())
    assert told["notice"].text == MISSING and "pip install easy-vqa" in MISSING
    assert list((tmp_path / "runs").iterdir()) == []


def test_another_source_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="not from 'coco'"):
        Runs(FakeEngine(), tmp_path).ask(None, None, 10, [60], ["fitprune"], source="coco")


class _Request:
    session_hash, client, headers = "somebody", None, {}
