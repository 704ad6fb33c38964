"""Examples and random scenes, and what is known about them."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from app.asking.scenes import (
    _ANSWERABLE,
    Example,
    KnownAnswer,
    asked_objects,
    is_right,
    link_of,
    linked,
    load_examples,
    new_scene,
    question_key,
    true_answer,
)
from app.demo_model.crowded import scene_of


def test_every_example_has_a_picture_and_a_known_answer():
    examples = load_examples()
    assert len(examples) >= 6
    for example in examples:
        assert example.open().mode == "RGB"
        assert true_answer(example.seed, example.question) is not None
        assert 0 <= example.percent <= 90


@pytest.mark.slow
def test_a_new_scene_comes_with_a_question_whose_answer_is_known():
    for seed in range(20):
        scene = new_scene(seed)
        assert scene.question.endswith("?")
        assert true_answer(scene.seed, scene.question)


def test_a_new_scene_is_asked_about_with_care():
    for seed in range(40):
        question = new_scene(seed).question
        assert question.count("?") == 1 and question[0].isupper() and not question.isupper(), question
        assert not set(question[:-1]) & set("!.") and question[-2].isalnum(), question


def test_two_new_scenes_differ():
    assert new_scene().seed != new_scene().seed


def test_how_a_question_is_typed_does_not_matter():
    example = next(e for e in load_examples() if "How many" in e.question)
    plain = true_answer(example.seed, example.question)
    for typed in (example.question.upper(), f" Please {example.question[:-1]}... ", f"Hello, {example.question}"):
        assert true_answer(example.seed, typed) == plain
    assert question_key("What is in this image?") == question_key("please what is in the picture")


@pytest.mark.slow
def test_nothing_is_known_about_other_questions_and_other_pictures():
    assert true_answer(load_examples()[0].seed, "Who painted this?") is None
    assert true_answer(None, "What color is the star?") is None


@pytest.mark.slow
def test_the_questions_about_a_scene_are_drawn_once_however_many_are_asked(monkeypatch):
    """Visitors ask while they hold the model; a question that is none of the scene's has all of them drawn."""
    drawn = []

    def counted(ask):
        return lambda scene, rng: drawn.append(1) or ask(scene, rng)

    monkeypatch.setattr("app.asking.scenes._ANSWERABLE", tuple(counted(ask) for ask in _ANSWERABLE))
    scene = Example("", None, "", 2**40 + 77)
    assert true_answer(scene.seed, "Who painted this?") is None
    once = len(drawn)
    assert true_answer(scene.seed, "Who sold this?") is None
    assert true_answer(scene.seed, "How many objects are there?") == str(len(scene_of(scene.seed).objects))
    assert len(drawn) == once == 3_000 * len(_ANSWERABLE)


def test_an_answer_that_came_with_a_picture_is_to_its_question_alone():
    known = KnownAnswer("What does the plate say?", "48J")
    assert true_answer(known, "please what does the plate say") == "48J"
    assert true_answer(known, "What color is the plate?") is None
    assert asked_objects(known, known.question) == () and link_of((), known, known.question, 60) == ""


def test_is_right_forgives_case_and_final_punctuation():
    assert is_right(" Top left. ", "top left")
    assert not is_right("left", "top left")


class TestLinks:
    EXAMPLES = (Example("a", None, "What is it?", 7), Example("b", None, "Who?", 9, 80))

    def asked(self, link: str) -> dict[str, str]:
        return dict(parse_qsl(link))

    @pytest.mark.parametrize(("seed", "kind"), [(9, "example"), (7, "example"), (123, "scene")])
    def test_a_link_leads_back(self, seed, kind):
        link = link_of(self.EXAMPLES, seed, "Is it & is it not?", 60)
        assert kind in self.asked(link)
        found = linked(self.EXAMPLES, self.asked(link))
        assert (found.seed, found.question, found.percent) == (seed, "Is it & is it not?", 60)

    def test_a_picture_of_ones_own_has_none(self):
        assert link_of(self.EXAMPLES, None, "What?", 60) == ""

    def test_an_address_may_ask_for_nothing_or_for_less(self):
        assert linked(self.EXAMPLES, {"__theme": "dark"}) is None
        assert linked(self.EXAMPLES, {"example": "1"}) == self.EXAMPLES[1]
        assert linked(self.EXAMPLES, {"example": "0", "budget": "400"}).percent is None
        assert linked(self.EXAMPLES, {"example": "0", "budget": "62.5"}).percent == 62.5

    @pytest.mark.parametrize(
        "asked", [{"example": "2"}, {"example": "-1"}, {"example": "x"}, {"scene": "9" * 30}, {"scene": "²"}]
    )
    def test_what_is_not_there_is_told(self, asked):
        with pytest.raises(ValueError, match="no such example or scene"):
            linked(self.EXAMPLES, asked)

    def test_a_question_is_cut_to_what_may_be_asked(self):
        assert len(linked(self.EXAMPLES, {"example": "0", "question": "x" * 100_000}).question) == 2_000
