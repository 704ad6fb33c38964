"""Recipes and About in a real browser."""

from __future__ import annotations

import time

import pytest

from app.engine import Side
from fitprune_core import METHODS, PruningRecipe
from tests.app.fake_engine import FakeEngine
from tests.app.serving import served
from tests.browser.conftest import DESK, opened
from tests.browser.pages import open_recipes, run_with

pytestmark = pytest.mark.browser

NOTICE = "document.querySelector('#recipes-notice').textContent.includes('{}')"


@pytest.fixture
def recipes(browser, url):
    page = opened(browser, url, viewport=DESK)
    open_recipes(page)
    yield page
    page.context.close()


def test_what_is_ticked_is_drawn(recipes):
    ticked, drawn = "#curves input:checked", "#curves .step"
    before = recipes.locator(ticked).count()
    assert recipes.locator(drawn).count() == before > 1
    recipes.locator("#curves input:not(:checked)").first.check()
    assert recipes.locator(drawn).count() == before + 1
    recipes.locator(ticked).first.uncheck()
    assert recipes.locator(drawn).count() == before


def test_a_curve_keeps_its_colour_when_others_come_and_go(recipes):
    def colours():
        script = """() => Object.fromEntries([...document.querySelectorAll('#curves tbody tr[data-at]')]
          .filter((line) => line.querySelector('input').checked)
          .map((line) => [line.querySelector('input'), line.querySelector('.swatch').className])
          .map(([tick, style]) => [tick.getAttribute('aria-label'), style]))"""
        return recipes.evaluate(script)

    before = colours()
    recipes.locator("#curves input:not(:checked)").first.check()  # above the others in the table
    after = colours()
    assert len(after) == len(before) + 1 == len(set(after.values())) and before.items() <= after.items()
    recipes.locator("#curves input:checked").first.uncheck()
    assert colours() == before


def test_a_saved_recipe_is_a_recipe_file(recipes, engine):
    with recipes.expect_download() as waiting:
        recipes.locator("#curves tbody button").first.click()
    assert PruningRecipe.load(waiting.value.path()) == engine.recipe_for(20)


def test_an_uploaded_recipe_is_compared_and_chosen_like_a_method(recipes, engine, tmp_path):
    engine.recipe_for(40).save(tmp_path / "mine.json")
    recipes.set_input_files("#recipe-file input[type=file]", tmp_path / "mine.json")
    recipes.click("#curves button:has-text('Compare')")
    recipes.wait_for_function("document.querySelector('.card[data-side=pruned] .who').textContent === 'mine'")
    recipes.wait_for_selector(".board[data-looks=true]")
    assert engine.sides[-1] == (Side("original", 40), "fitprune")
    assert recipes.inner_text("#sides .words") == "Original | mine"
    assert recipes.inner_text(".card[data-side=pruned] .percent") == "40 %"
    assert recipes.inner_text("#preview .prediction") == "Neither side goes by this budget."
    recipes.select_option("#fp-left-method", "mine")
    recipes.select_option("#fp-right-method", "fitprune")
    assert recipes.is_hidden("#sides [data-side=left] .percent")
    assert recipes.inner_text("#preview .prediction").startswith("Predicted: ")
    run_with(recipes, "#run")
    against, method = engine.sides[-1]
    assert (against.recipe, method) == (engine.recipe_for(40), "fitprune") and "question" not in recipes.url


class Lasting(FakeEngine):
    """An engine whose calibration goes on until somebody ends it."""

    def calibrate(self, samples, out, *, progress, should_stop) -> None:
        progress(3, 32)
        while not should_stop():
            time.sleep(0.01)


def test_a_fit_is_found_again_after_a_reload_and_can_be_stopped(browser):
    with served(Lasting()) as url:
        page = opened(browser, url, viewport=DESK)
        open_recipes(page)
        assert page.is_disabled("#fit-stop")
        page.click("#fit")
        page.wait_for_function(NOTICE.format("3 of 32 questions"))
        page.reload()
        page.wait_for_selector("button[role=tab]:has-text('Recipes')")
        open_recipes(page)
        page.wait_for_function(NOTICE.format("3 of 32 questions"))
        page.click("#fit-stop:enabled")
        page.wait_for_function(NOTICE.format("Stopped."))
        assert page.is_disabled("#fit-stop")
        page.context.close()


def test_about_says_what_runs_and_where_it_comes_from(recipes):
    recipes.click("button[role=tab]:has-text('About')")
    text = recipes.inner_text(".guide")
    assert "mini-llava" in text and "AAAI 2025" in text
    assert recipes.locator(".guide .methods dt").all_inner_texts() == list(METHODS)
    assert all(recipes.locator(".guide .methods dd").all_inner_texts())
    assert recipes.evaluate("document.documentElement.scrollWidth") <= 1440
