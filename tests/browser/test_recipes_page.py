"""Recipes and About in a real browser."""

from __future__ import annotations

import pytest

from fitprune_core import PruningRecipe
from tests.browser.conftest import DESK, opened
from tests.browser.pages import open_recipes

pytestmark = pytest.mark.browser


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


def test_a_saved_recipe_is_a_recipe_file(recipes, engine):
    with recipes.expect_download() as waiting:
        recipes.locator("#curves tbody button").first.click()
    assert PruningRecipe.load(waiting.value.path()) == engine.recipe_for(20)


def test_about_says_what_runs_and_where_it_comes_from(recipes):
    recipes.click("button[role=tab]:has-text('About')")
    text = recipes.inner_text(".guide")
    assert "mini-llava" in text and "AAAI 2025" in text
    assert recipes.evaluate("document.documentElement.scrollWidth") <= 1440
