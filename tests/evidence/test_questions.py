"""Where questions come from: what is fitted on, chosen by and tested on has nothing in common."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.evidence.plan import FULL, QUICK, Plan
from app.evidence.questions import (
    CALIBRATION,
    CHOICE,
    EASY_VQA,
    FEW,
    TEST,
    drawn,
    easy_vqa,
    easy_vqa_to_calibrate,
    further_calibrations,
    parts_of,
    world_sets,
)
from fitprune_core.samples.files import SamplesFile, read_samples
from tests.evidence.conftest import SMALLEST
from tests.tiny import random_picture


def pictures(questions) -> list[bytes]:
    return [sample.image.read_bytes() for sample in read_samples(questions.file)]


@pytest.mark.slow
def test_drawn_sets_share_no_picture(tmp_path):
    sets = world_sets(QUICK, tmp_path)
    apart = [sets[CALIBRATION], sets[CHOICE], sets[TEST], *further_calibrations(QUICK, tmp_path)]
    every = [picture for questions in apart for picture in pictures(questions)]
    assert len(every) == len(set(every)) == sum(each.count for each in apart)
    few, every_test = ([sample.id for sample in read_samples(sets[name].file)] for name in (FEW, TEST))
    assert {*few} <= {*every_test} and len(few) == QUICK.few and {*pictures(sets[FEW])} <= {*pictures(sets[TEST])}
    assert len({each.digest for each in apart}) == len(apart)


def test_drawn_sets_are_drawn_once(tmp_path, monkeypatch):
    first = drawn("a", 3, 5, tmp_path)
    monkeypatch.setattr("app.evidence.questions.write_samples", lambda *_: pytest.fail("drawn again"))
    assert drawn("a", 3, 5, tmp_path).digest == first.digest


def test_what_is_answered_in_batches_stands_by_the_length_of_its_answers(tmp_path):
    plain, sorted_ = (drawn("a", 8, 5, tmp_path, to_answer=to_answer) for to_answer in (False, True))
    first, second = (list(read_samples(each.file)) for each in (plain, sorted_))
    lengths = [len(sample.answer) for sample in second]
    assert lengths == sorted(lengths) and len({*lengths}) > 1
    assert {(sample.id, sample.answer) for sample in first} == {(sample.id, sample.answer) for sample in second}
    assert [sample.id for sample in first] != [sample.id for sample in second]


def test_easy_vqa_is_spread_over_its_split(tmp_path, easy_vqa_package):
    found = easy_vqa(3, tmp_path)
    samples = list(read_samples(found.file))
    assert [sample.answer for sample in samples] == ["circle", "rectangle", "triangle"]
    assert {sample.kind for sample in samples} == {"shape"} and all(sample.image.is_file() for sample in samples)
    assert "3 of the 12 questions" in found.origin


def test_all_of_easy_vqa_is_asked_where_the_plan_says_so(tmp_path, easy_vqa_package, make_bench):
    found = easy_vqa(None, tmp_path)
    assert found.count == 12 and found.origin == "all 12 questions of easy-VQA's test split"
    few, every = (make_bench(replace(SMALLEST, whole_easy_vqa=whole)) for whole in (False, True))
    assert few.easy_vqa_to_compare() == few.sets[EASY_VQA] and few.sets[EASY_VQA].count == SMALLEST.easy_vqa < 12
    assert every.easy_vqa_to_compare().count == 12 and every.sets[EASY_VQA].count == SMALLEST.easy_vqa


def test_what_calibrates_on_easy_vqa_shows_no_picture_that_is_asked_about(tmp_path, easy_vqa_package):
    asked = easy_vqa(3, tmp_path)
    found = easy_vqa_to_calibrate(4, asked, tmp_path)
    assert found.count == 4 and not {*pictures(found)} & {*pictures(asked)}
    assert found.digest != asked.digest and "other pictures" in found.origin


def test_without_its_package_easy_vqa_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert easy_vqa(3, tmp_path) is None


@pytest.fixture
def given(tmp_path) -> SamplesFile:
    """60 questions about 30 pictures; every seventh has no right answer."""
    lines = []
    for number in range(60):
        image = f"{number // 2}.png"
        random_picture(seed=number // 2).save(tmp_path / image)
        entry = {"id": f"s{number}", "image": image, "question": f"What is {number}?", "kind": "any"}
        lines.append(entry | ({"answer": "a key"} if number % 7 else {}))
    (tmp_path / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return SamplesFile(tmp_path / "samples.jsonl")


class TestGivenFile:
    plan = replace(QUICK, calibration=100, test=100, choice=100, few=5)

    def test_its_parts_share_no_picture_and_only_calibration_needs_no_answer(self, given, tmp_path):
        parts = parts_of(given, self.plan, tmp_path / "cache")
        images = {
            name: {sample.image for sample in read_samples(parts[name].file)} for name in (CALIBRATION, CHOICE, TEST)
        }
        assert not images[CALIBRATION] & images[TEST] and not images[CHOICE] & (images[TEST] | images[CALIBRATION])
        assert all(image.is_file() for of_part in images.values() for image in of_part)
        for name in (CHOICE, TEST, FEW):
            assert all(sample.answer == "a key" and sample.kind == "any" for sample in read_samples(parts[name].file))
        asked = sum(parts[name].count for name in (CALIBRATION, CHOICE, TEST))
        assert 51 <= asked <= 60 and parts[FEW].count == 5

    def test_another_order_or_more_questions_move_no_picture(self, given, tmp_path):
        before = parts_of(given, self.plan, tmp_path / "cache")
        lines = given.path.read_text().splitlines()
        other = given.path.with_name("other.jsonl")
        other.write_text("\n".join(lines[::-1]))
        after = parts_of(SamplesFile(other), self.plan, tmp_path / "cache")
        for name in (CALIBRATION, CHOICE, TEST):
            one, two = ({sample.id for sample in read_samples(each[name].file)} for each in (before, after))
            assert one == two

    def test_a_file_without_answers_is_refused(self, given, tmp_path):
        entries = [json.loads(line) for line in given.path.read_text().splitlines()]
        bare = given.path.with_name("bare.jsonl")
        bare.write_text("\n".join(json.dumps(entry | {"answer": None}) for entry in entries))
        with pytest.raises(
            ValueError, match="leaves nothing for choice and test: the evidence needs questions with right"
        ):
            parts_of(SamplesFile(bare), self.plan, tmp_path / "cache")


def test_plans_have_the_budget_that_sentences_speak_of():
    with pytest.raises(ValueError, match="a plan needs the budget 0.8"):
        replace(FULL, budgets=(0.5,))
    for plan in (FULL, QUICK):
        assert isinstance(plan, Plan) and max(plan.answered_sizes) <= max(plan.calibration_sizes)
        assert plan.sequential_samples <= plan.calibration and plan.few <= plan.test
    assert not FULL.is_check and QUICK.is_check and FULL.test >= 2000


def test_the_cache_names_no_absolute_place(given, tmp_path):
    parts = parts_of(given, QUICK, tmp_path / "cache")
    lines = [json.loads(line) for line in Path(parts[TEST].file).read_text().splitlines()]
    assert all(not Path(line["image"]).is_absolute() for line in lines)
