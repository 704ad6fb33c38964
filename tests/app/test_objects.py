"""What a question about a scene names, and the patches that show it, against the scene's own boxes."""

from __future__ import annotations

import random

import pytest

from app.asking.objects import with_asked_object
from app.asking.scenes import asked_objects
from app.demo_model.crowded import scene_of as drawn
from app.demo_model.questions import KINDS
from app.demo_model.scenes import Scene, SceneObject
from app.parts.scrubber import Trace
from app.showing.presentation import trace_of
from tests.app.fake_engine import GEOMETRY, GRID, FakeEngine, make_comparison


def scene_of(*objects):
    """Objects by (colour, kind, cell), in boxes that fill their cells but for a rim."""
    found = [
        SceneObject(
            kind,
            color,
            cell,
            ((cell % 3 + 0.1) / 3, (cell // 3 + 0.1) / 3, (cell % 3 + 0.9) / 3, (cell // 3 + 0.9) / 3),
        )
        for color, kind, cell in objects
    ]
    return Scene(0, tuple(found), 0)


SCENE = scene_of(("red", "car", 0), ("blue", "car", 2), ("red", "fish", 4), ("green", "key", 8))


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr("app.asking.scenes.scene_of", lambda seed: SCENE)


@pytest.mark.parametrize(
    ("question", "cells"),
    [
        ("What color is the key?", [8]),
        ("Where is the red car?", [0]),
        ("where's the car", [0, 2]),
        ("How many cars are there?", [0, 2]),
        ("How many red things do you see?", [0, 4]),
        ("Is the red car to the left of the key?", [0, 8]),
        ("Is the key below the blue car?", [2, 8]),
        ("Is there a red key?", [8]),
        ("What is at the bottom right?", [8]),
        ("What is in the middle of the picture?", [4]),
        ("What can be seen at the top?", []),
        ("What does the top left car say?", [0]),
        ("What is on the car at the top right?", [2]),
        ("Is there a dog?", []),
        ("Describe the picture.", []),
        ("How many objects are there?", []),
        ("What is the capital of Peru?", []),
    ],
)
def test_what_a_question_names(known, question, cells):
    assert [item.cell for item in asked_objects(7, question)] == cells


def test_of_another_picture_nothing_is_known():
    assert asked_objects(None, "Where is the car?") == ()


def test_every_way_of_asking_where_names_the_object():
    for seed in range(40):
        scene, rng = drawn(seed), random.Random(seed)
        question = KINDS["where"](scene, rng)
        if question is not None:
            assert question.answer in [item.place for item in asked_objects(seed, question.text)], question.text


def traced(size):
    engine = FakeEngine()
    comparison = make_comparison(size, "What?", engine.recipe_for(60), ("a", "a"))
    from PIL import Image

    return trace_of(comparison, Image.new("RGB", size), GEOMETRY)


@pytest.mark.parametrize("size", [(480, 480), (960, 480), (300, 500)])
def test_the_patches_of_an_object_are_those_whose_middle_it_holds(known, size):
    trace = with_asked_object(traced(size), 7, "Where is the fish?")
    x0, y0, x1, y1 = SCENE.objects[2].box
    expected = [
        row * GRID + column
        for row in range(GRID)
        for column in range(GRID)
        if x0 <= (column + 0.5) / GRID < x1 and y0 <= (row + 0.5) / GRID < y1
    ]
    assert expected and trace.asked.tokens == expected and trace.asked.name == "fish"


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("How many cars are there?", "cars"),
        ("Is the red car left of the key?", "car and key"),
        ("How many red objects?", "car and fish"),
    ],
)
def test_it_is_named_without_its_colour(known, question, name):
    assert with_asked_object(traced((480, 480)), 7, question).asked.name == name


def test_a_trace_without_a_scene_stays_as_it_is(known):
    trace = traced((480, 480))
    assert with_asked_object(trace, None, "Where is the car?") is trace
    assert with_asked_object(trace, 7, "Describe the picture.") is trace and isinstance(trace, Trace)
