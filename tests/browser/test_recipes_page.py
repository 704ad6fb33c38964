"""Recipes and About in a real browser."""

from __future__ import annotations

import pytest

from fitprune_core import PruningRecipe
from tests.browser.conftest import PATIENCE

pytestmark = pytest.mark.browser


@pytest.fixture
def recipes(browser, url):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(url + "?__theme=light")
    page.wait_for_selector(".board[data-state=done]")
    page.click("button[role=tab]:has-text('Recipes')")
    page.wait_for_selector("#curves .step")
    yield page
    page.close()


def test_what_is_ticked_is_drawn(recipes):
    ticked, drawn = "#curves input:checked", "#curves .step"
    before = recipes.locator(ticked).count()
    assert recipes.locator(drawn).count() == before > 1
    recipes.locator("#curves input:not(:checked)").first.check()
    assert recipes.locator(drawn).count() == before + 1
    recipes.locator(ticked).first.uncheck()
    assert recipes.locator(drawn).count() == before


def test_a_saved_recipe_is_a_recipe_file(recipes, engine):
    with recipes.expect_download() as waiting:
        recipes.locator("#curves tbody button").first.click()
    assert PruningRecipe.load(waiting.value.path()) == engine.recipe_for(20)


def test_about_says_what_runs_and_where_it_comes_from(recipes):
    recipes.click("button[role=tab]:has-text('About')")
    text = recipes.inner_text(".guide")
    assert "mini-llava" in text and "AAAI 2025" in text
    assert recipes.evaluate("document.documentElement.scrollWidth") <= 1440
