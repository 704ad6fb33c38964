"""The Recipes page on a tiny real model: every curve is its recipe's, and a recipe is fitted, uploaded or refused."""

from __future__ import annotations

import json
import time
import zipfile
from itertools import accumulate
from types import SimpleNamespace

import gradio as gr
import pytest

import fitprune_core as fp
from app.background.runs import Runs
from app.pages.recipes import RecipesPage
from app.pages.wiring import BUDGETS
from app.parts.curves import Curve, recipes_of
from fitprune_core.recipes.published import published_recipes
from tests.tiny import random_picture

NAMES = ("upload", "questions", "scenes", "percent", "run", "stop", "notice", "curves", "own", "token", "timer")
REQUEST = SimpleNamespace(session_hash="mine", client=SimpleNamespace(host="192.0.2.1"))


@pytest.fixture
def page(tiny_engine, tmp_path):
    page = RecipesPage(tiny_engine, Runs(tiny_engine, tmp_path / "runs"))
    page.parts = SimpleNamespace(**{name: name for name in NAMES})
    return page


def recipe_of(curve: Curve) -> fp.PruningRecipe:
    return fp.PruningRecipe.from_dict(json.loads(curve.file))


def test_every_curve_is_that_of_its_file(page):
    curves = page.here()
    assert len(curves) == len(BUDGETS) + len(list(fp.RECIPES.glob("*/published-*.json")))
    for curve in curves:
        recipe = recipe_of(curve)
        assert curve.left == [recipe.num_visual_tokens - gone for gone in accumulate(recipe.removed)]
        assert (curve.asked, curve.achieved, curve.alpha) == (recipe.reduction, recipe.achieved_reduction, recipe.alpha)


def test_the_models_own_recipes_come_first(page, tiny_engine):
    own = [recipe_of(curve) for curve in page.here()[: len(BUDGETS)]]
    assert own == [tiny_engine.recipe_for(percent) for percent in BUDGETS]


def test_an_uploaded_recipe_is_drawn_before_the_others(page, tiny_engine, tmp_path):
    tiny_engine.recipe_for(30).save(tmp_path / "mine.json")
    told = page.add(str(tmp_path / "mine.json"), [])
    first = told["curves"].curves[0]
    assert first.name == "mine" and first.shown and recipe_of(first) == tiny_engine.recipe_for(30)
    again = page.add(str(tmp_path / "mine.json"), told["own"])
    assert len(again["own"]) == 2


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 99}', "[1, 2]", "no JSON"])
def test_what_is_no_recipe_is_told_in_a_sentence(page, tmp_path, content):
    (tmp_path / "bad.json").write_text(content)
    told = page.add(str(tmp_path / "bad.json"), [])
    assert set(told) == {"notice"} and told["notice"].kind == "error"
    assert str(tmp_path) not in told["notice"].text
    if content in ("{}", "[1, 2]"):
        assert told["notice"].text.startswith("bad.json is not a recipe")


def test_what_the_group_says_is_not_said_again_and_a_name_of_ones_own_hides_no_budget(page, tiny_engine, tmp_path):
    assert {curve.about for curve in page.here() if "published" in curve.group} == {""}
    tiny_engine.recipe_for(30).save(tmp_path / "mine.json")
    assert page.add(str(tmp_path / "mine.json"), [])["curves"].curves[0].about.startswith("for 30 %, fitted from")


def test_of_a_visitors_recipes_the_oldest_goes_and_that_is_said(page, tiny_engine, tmp_path):
    own = []
    for number in range(21):
        tiny_engine.recipe_for(30).save(tmp_path / f"mine {number}.json")
        told = page.add(str(tmp_path / f"mine {number}.json"), own)
        own = told["own"]
        assert ("gone" in told["notice"].text) == (number == 20)
    assert [each["name"] for each in own] == [f"mine {number}" for number in range(1, 21)]
    assert "20 of yours are drawn at most: mine 0 (uploaded: tiny-llava) is gone." in told["notice"].text


def test_a_recipe_that_is_too_large_is_told(page, tmp_path):
    (tmp_path / "large.json").write_text("{" + " " * 2**14 + "}")
    told = page.add(str(tmp_path / "large.json"), [])
    assert set(told) == {"notice"} and "Large" not in told["notice"].text
    assert "large.json has 16,386 bytes; a recipe may have up to 16,384 here" in told["notice"].text


def opened(page, own, way):
    compare = SimpleNamespace(parts=SimpleNamespace(sides="sides", percent="percent"))
    return page.open_recipe(SimpleNamespace(_data={"way": way}), own, compare)


def test_recipes_of_ones_own_are_told_apart_and_compared(page, tiny_engine, tmp_path):
    own = []
    for percent in (30, 70):
        tiny_engine.recipe_for(percent).save(tmp_path / "mine.json")
        own = page.add(str(tmp_path / "mine.json"), own)["own"]
    told = opened(page, own, "mine (2)")
    assert [kind.name for kind in told["sides"].kinds if kind.is_recipe] == ["mine", "mine (2)"]
    sides = told["sides"].sides(recipes_of(own))
    assert (sides.left, sides.right, told["percent"]) == ("original", "mine (2)", 70)
    assert sides.pruned(20).recipe == tiny_engine.recipe_for(70)


@pytest.mark.parametrize("name", ["random", "original"])
def test_a_recipe_has_no_methods_name(page, tiny_engine, tmp_path, name):
    tiny_engine.recipe_for(30).save(tmp_path / f"{name}.json")
    (added,) = page.add(str(tmp_path / f"{name}.json"), [])["own"]
    assert added["way"] == f"{name} (2)"


def test_a_recipe_for_other_layers_is_drawn_and_not_compared(page, tmp_path):
    published_recipes("llava-1.5-7b")[0].save(tmp_path / "theirs.json")
    (added,) = page.add(str(tmp_path / "theirs.json"), [])["own"]
    assert added["way"] == "" and recipes_of([added]) == {}


@pytest.mark.parametrize("way", [None, "", "theirs", "fitprune", 5, ["mine"]])
def test_what_is_no_recipe_of_ones_own_is_not_compared(page, tiny_engine, tmp_path, way):
    tiny_engine.recipe_for(30).save(tmp_path / "mine.json")
    own = page.add(str(tmp_path / "mine.json"), [])["own"]
    with pytest.raises(gr.Error):
        opened(page, own, way)


def finished(page, told):
    """What the page shows once the run that it began is over."""
    until = time.monotonic() + 60
    while page.runs.find(told["token"]).is_busy and time.monotonic() < until:
        time.sleep(0.02)
    return page.look_after(told["token"], [])


def zip_of(tmp_path, count):
    path = tmp_path / "my set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            random_picture(seed=number).save(tmp_path / "p.png")
            archive.write(tmp_path / "p.png", f"{number}.png")
        lines = [json.dumps({"id": str(n), "image": f"{n}.png", "question": f"What is {n}?"}) for n in range(count)]
        archive.writestr("samples.jsonl", "\n".join(lines))
    return str(path)


@pytest.mark.slow
def test_a_recipe_is_fitted_from_ones_own_pictures(page, tiny_engine, tmp_path):
    told = finished(page, page.begin(zip_of(tmp_path, 3), 8, 50, None, REQUEST))
    samples = [(random_picture(seed=number), f"What is {number}?") for number in range(3)]
    expected = fp.fit_recipe(fp.collect_statistics(tiny_engine.model, tiny_engine.processor, samples), 0.5)
    fitted = recipe_of(told["curves"].curves[0])
    assert (fitted.removed, fitted.num_samples) == (expected.removed, 3)
    assert "Fitted from 3 samples" in told["notice"].text


def test_a_bad_zip_is_told_in_a_sentence(page, tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    told = page.begin(str(tmp_path / "bad.zip"), 8, 50, None, REQUEST)
    assert told["notice"].kind == "error" and "bad.zip" in told["notice"].text
    assert str(tmp_path) not in told["notice"].text and not list(page.runs.folder.iterdir())


def until_stopped(samples, out, *, progress, should_stop):
    """In the place of `Engine.calibrate`: one question, and then nothing until it is stopped."""
    progress(1, 8)
    while not should_stop():
        time.sleep(0.01)


def test_a_run_is_shown_to_whoever_is_back_and_ends_when_he_says_so(page, tiny_engine, monkeypatch):
    """The page is made anew, and all that it knows is the token: nothing is drawn of what is not there yet."""
    monkeypatch.setattr(tiny_engine, "calibrate", until_stopped)
    told = page.begin(None, 8, 50, None, REQUEST)
    token, run = told["token"], page.runs.find(told["token"])
    until = time.monotonic() + 10
    while not run.done and time.monotonic() < until:
        time.sleep(0.01)
    back = page.go_on(token, [])
    assert back["notice"].text.startswith("1 of 8 questions. It goes on when you close the page")
    assert "curves" not in back
    assert back["timer"].active and back["stop"].interactive and told["stop"].interactive
    stopping = page.stop(token, [])
    assert not run.is_busy or (stopping["notice"].text, stopping["stop"].interactive) == (run.progress, False)
    over = finished(page, told)
    assert run.state == "stopped" and over["notice"].text == "Stopped."
    assert not over["timer"].active and not over["stop"].interactive
    assert page.go_on(token, [])["notice"].text == "Stopped." and not run.is_busy


@pytest.mark.slow
def test_a_run_that_the_end_of_a_server_cut_short_goes_on_and_its_recipe_is_drawn_at_each_visit(page, tmp_path):
    token = page.begin(zip_of(tmp_path, 3), 8, 50, None, REQUEST)["token"]
    first = finished(page, {"token": token})
    page.runs.find(token).results.unlink()  # as if it had not come so far
    page.runs = Runs(page.engine, page.runs.folder)
    assert page.go_on(token, [])["timer"].active
    again = finished(page, {"token": token})
    page.runs = Runs(page.engine, page.runs.folder)
    assert page.go_on(token, [])["notice"].text == again["notice"].text == first["notice"].text
    assert "Fitted from 3 samples" in first["notice"].text
    assert recipe_of(again["curves"].curves[0]) == recipe_of(first["curves"].curves[0])
    assert recipe_of(page.go_on(token, [])["curves"].curves[0]) == recipe_of(first["curves"].curves[0])


@pytest.mark.parametrize("token", ["", None, "x" * 24, 5])
def test_whoever_has_no_run_sees_what_the_page_begins_with(page, token):
    assert set(page.go_on(token, [])) == {"timer", "stop"}


def test_statistics_that_make_no_recipe_are_told_once(page, tiny_engine, monkeypatch, tmp_path):
    """The timer, which would ask again each second, ends, and so does the button."""
    monkeypatch.setattr(tiny_engine, "calibrate", lambda samples, out, **_: out.write_bytes(b"no statistics"))
    told = finished(page, page.begin(None, 8, 50, None, REQUEST))
    assert told["notice"].kind == "error" and "cannot read statistics" in told["notice"].text.casefold()
    assert str(tmp_path) not in told["notice"].text and "curves" not in told
    assert not told["timer"].active and not told["stop"].interactive
