"""Recipes and About in a real browser."""

from __future__ import annotations

import io
import time

import pytest
from PIL import Image

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


@pytest.mark.parametrize("width", [390, 1024, 1440])
def test_what_a_recipe_is_used_by_is_in_sight_and_what_goes_on_beyond_the_edge_fades(recipes, width):
    recipes.set_viewport_size({"width": width, "height": 844})
    recipes.wait_for_timeout(400)
    box = recipes.locator("#curves .uses button").first.bounding_box()
    assert box["x"] > 0 and box["x"] + box["width"] <= width
    beyond = recipes.evaluate(
        "(list => list.scrollWidth - list.clientWidth > 2)(document.querySelector('#curves .list'))"
    )
    assert recipes.get_attribute("#curves .list", "data-more") == str(beyond).lower() and (not beyond or width == 390)
    recipes.evaluate("document.querySelector('#curves .list').scrollLeft = 9999")
    recipes.wait_for_selector("#curves .list[data-more=false]")
    heads = recipes.locator("#curves thead th").all_inner_texts()
    assert heads[:3] == ["drawn", "recipe", "use"] and "asked" not in heads
    assert "1,368 of 2,880, 32 layers" in recipes.inner_text("#curves tbody")


def test_files_have_a_line_and_stop_stands_beside_its_button(recipes):
    for name in ("#recipe-file", "#fit-file"):
        assert recipes.locator(name).bounding_box()["height"] <= 44
    fit, stop = (recipes.locator(each).bounding_box() for each in ("#fit", "#fit-stop"))
    assert fit["y"] == stop["y"] and stop["width"] < fit["width"] / 2


def test_boxes_without_a_tick_are_dark_in_the_dark(browser, url):
    page = opened(browser, url, "dark", viewport=DESK)
    open_recipes(page)
    box = page.locator("#curves input:not(:checked)").first
    pixels = Image.open(io.BytesIO(box.screenshot())).convert("L")
    assert pixels.getpixel((pixels.width // 2, pixels.height // 2)) < 100
    page.context.close()


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
    said = recipes.locator(".guide .methods dd").all_inner_texts()
    assert len(said) == len(METHODS) and all(said)
    assert recipes.evaluate("document.documentElement.scrollWidth") <= 1440
    papers = recipes.locator(".guide .methods a").evaluate_all(
        "links => links.map((link) => [link.textContent, link.href])"
    )
    assert ["arXiv 2403.06764", "https://arxiv.org/abs/2403.06764"] in papers
    assert all(href == "https://arxiv.org/abs/" + name.removeprefix("arXiv ") for name, href in papers)
    assert "Sweep and Inspect" in text and "6.4 instead of 10" in text and "toss of a coin" in text
    right = max(box["x"] + box["width"] for box in (each.bounding_box() for each in recipes.locator(".guide h2").all()))
    assert right > 1300  # the width of the page is used


def test_the_loaded_models_recipes_are_drawn_first_each_with_its_name_at_its_end(recipes):
    ticked = recipes.locator("#curves input:checked").evaluate_all("boxes => boxes.map((box) => box.ariaLabel)")
    assert ticked == [f"Draw mini-llava, the model that is loaded, {percent} %" for percent in (40, 60, 80)]
    names = "nodes => nodes.map((node) => node.firstChild.data)"
    assert recipes.locator("#curves .name").evaluate_all(names) == ["40 %", "60 %", "80 %"]
    recipes.locator("#curves tbody input").last.check()
    assert all("," in name for name in recipes.locator("#curves .name").evaluate_all(names))  # now of two models
    boxes = [each.bounding_box() for each in recipes.locator("#curves .name").all()]
    figure = recipes.locator("#curves figure").bounding_box()
    assert all(box["x"] + box["width"] <= figure["x"] + figure["width"] for box in boxes)
