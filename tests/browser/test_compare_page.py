"""The page in a real browser: a result, the scrubber's canvas, keys, the budget, answers, and a phone."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from app.asking.scenes import load_examples
from tests.app.fake_engine import TOKENS, FakeEngine, Shape
from tests.app.serving import served
from tests.browser.conftest import BRIGHTNESS, PHONE, opened
from tests.browser.pages import run_with, to_layer, white_picture

pytestmark = pytest.mark.browser


def test_first_result_is_there_without_an_error(page):
    assert page.inner_text(".card[data-side=original] .answer") == "a red car"
    assert page.inner_text(".card[data-side=pruned] .answer") == "a blue car"
    assert "Different answers" in page.inner_text("#answers .verdict")
    assert "demonstration model" in page.inner_text("#masthead")
    assert page.problems == []


def test_a_laptop_needs_no_scrolling(page):
    assert page.evaluate("document.documentElement.scrollHeight") <= 800
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366


def test_canvas_dims_what_the_layer_has_dropped(page):
    """The patches that got darker from layer 1 to layer 12 are those that the caption says are gone."""
    shown = page.get_attribute("#picture img", "src")
    page.set_input_files("#picture input[type=file]", files=[white_picture()])
    page.wait_for_function("shown => document.querySelector('#picture img')?.src !== shown", arg=shown)
    page.wait_for_selector("#picture img")
    run_with(page, "#run")
    page.wait_for_timeout(500)  # the browser decodes the picture in the background
    counts = {}
    for layer in (1, 12):
        to_layer(page, layer)
        dimmed = [index for index, value in enumerate(page.evaluate(BRIGHTNESS)) if value < 235]
        kept = int(re.match(r"(\d+) of", page.inner_text("#scrubber .count"))[1])
        assert len(dimmed) == TOKENS - kept
        counts[layer] = set(dimmed)
    assert counts[1] < counts[12]


def test_slider_and_keys_move_the_layer(page):
    to_layer(page, 3)
    page.mouse.click(700, 20)
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".scrubber[data-layer='4']")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".scrubber[data-layer='3']")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('.scrubber').dataset.layer >= 5")
    if page.get_attribute("#scrubber .play", "aria-label") == "Pause":
        page.keyboard.press("Space")
    assert page.get_attribute("#scrubber .play", "aria-label") == "Play through the layers"


def test_moving_through_layers_asks_no_server(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    for layer in (2, 9, 5):
        to_layer(page, layer)
    page.click("button[data-mode=heat]")
    page.click("button[data-mode=patches]")
    assert [url for url in asked if "gradio_api" in url and "heartbeat" not in url] == []


def test_pointing_at_a_patch_tells_where_it_went(page):
    to_layer(page, 12)
    box = page.locator("#scrubber .frame canvas").bounding_box()
    side = min(box["width"], box["height"])
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
    page.mouse.move(left + side / 16 * 4.5, top + side / 16 * 2.5)
    page.wait_for_function("document.querySelector('#scrubber .detail').textContent.startsWith('Row 3, column 5:')")
    assert re.search(r"dropped after layer \d+, rank \d+ of \d+|kept through all 12", page.inner_text(".detail"))


def test_what_a_layer_drops_looks_the_same_at_all_layers_and_has_a_key_only_there(page):
    looks, key = set(), page.locator("#scrubber .here-key")
    for layer in range(1, 13):  # each drops something
        to_layer(page, layer)
        looks.add(key.locator("i").evaluate("(node) => getComputedStyle(node).background"))
        assert key.is_visible() and ", none dropped here" not in page.inner_text("#scrubber .count")
    assert len(looks) == 1
    for percent, is_told in (("0", False), ("60", True)):
        page.fill("#budget input[type=number]", percent)
        page.keyboard.press("Tab")
        run_with(page, "#run")
        page.wait_for_function(
            "is => document.querySelector('#scrubber .count').textContent.endsWith(', none dropped here') !== is",
            arg=is_told,
        )
        assert key.is_visible() == is_told
    assert page.inner_text("#scrubber .legend").split("\n")[:2] == ["kept", "dropped earlier"]


def test_heat_map_colours_by_layer(page):
    before = page.evaluate(BRIGHTNESS)
    page.click("button[data-mode=heat]")
    assert page.get_attribute("button[data-mode=heat]", "aria-pressed") == "true"
    assert page.evaluate(BRIGHTNESS) != before
    page.click("button[data-mode=patches]")


def test_budget_tells_at_once_what_it_will_do(page):
    prediction = page.inner_text("#preview .prediction")
    page.fill("#budget input[type=number]", "80")
    page.keyboard.press("Tab")
    page.wait_for_function("was => document.querySelector('#preview .prediction').textContent !== was", arg=prediction)
    page.fill("#budget input[type=number]", "60")
    page.keyboard.press("Tab")


def test_what_is_fitprunes_is_not_said_of_another_method(page):
    page.wait_for_function("document.querySelector('#preview .prediction').textContent.includes('tokens left')")
    page.click("#sides summary")
    page.select_option("#sides .side[data-side=right] .method", "random")
    page.wait_for_function("!document.querySelector('#preview .prediction').textContent.includes('tokens left')")
    assert "% visual FLOPs" in page.inner_text("#preview .prediction") and not page.is_visible("#preview .plot")
    page.select_option("#sides .side[data-side=right] .method", "fitprune")
    page.wait_for_selector("#preview .plot", state="visible")
    page.click("#sides summary")


def test_example_runs_and_cropped_sides_are_marked(page, engine):
    wide = next(at for at, example in enumerate(load_examples(), 1) if example.name == "wide")
    run_with(page, f".picker button:nth-child({wide})")
    assert engine.asked[-1][0] == (960, 480)
    page.wait_for_selector(".scrubber[data-cropped=true]")
    assert page.is_visible("#scrubber .unseen-key")


def test_answers_are_shown_as_text(page, engine):
    engine.answers = ("<img src=x onerror=alert(1)> ${window.hacked=1} {{1}} `x`", "a blue car")
    try:
        run_with(page, "#run")
        assert page.inner_text(".card[data-side=original] .answer").startswith("<img src=x")
        assert page.evaluate("window.hacked") is None
        assert page.locator("#answers .answer img").count() == 0
    finally:
        engine.answers = ("a red car", "a blue car")


LONG = (
    "a small red car stands beside a tall brown house under a grey sky with two birds while a man in a blue coat "
    "walks a dog along the street and a woman in a green hat waits near the old {} shop that sells {} bread"
)
# Of each card whether its first differing word shows.
DIFFERING = """() => [...document.querySelectorAll('.card .answer')].map((answer) => {
  const box = answer.getBoundingClientRect(), word = answer.querySelector('.differs').getBoundingClientRect();
  return word.top >= box.top - 1 && word.bottom <= box.bottom + 1;
})"""


@pytest.mark.parametrize(("width", "times"), [(1440, 1), (1440, 4), (1024, 2), (390, 2)])
def test_of_long_answers_the_words_that_differ_show(page, engine, width, times):
    """Cards grow to eight lines, and are scrolled to the first word that differs; short ones stay as they are."""
    size, heights = (
        page.viewport_size,
        "[...document.querySelectorAll('.card .answer')].map((node) => node.clientHeight)",
    )
    page.set_viewport_size({"width": width, "height": 844})
    short = page.evaluate(heights)
    same = LONG.format("yellow", "fresh") + " and "
    engine.delay = 0.0
    engine.answers = tuple(same * (times - 1) + LONG.format(*words) for words in (("blue", "cold"), ("pink", "warm")))
    try:
        run_with(page, "#run")
        page.wait_for_timeout(200)
        assert page.evaluate(DIFFERING) == [True, True]
        assert all(60 < height <= 161 for height in page.evaluate(heights))
        page.evaluate("document.querySelector('.card .answer').scrollTop = 0")
        run_with(page, "#run")
        page.wait_for_timeout(200)
        assert page.evaluate(DIFFERING) == [True, True]
    finally:
        engine.delay, engine.answers = 0.05, ("a red car", "a blue car")
        run_with(page, "#run")
    assert page.evaluate(heights) == short
    page.set_viewport_size(size)


def test_a_word_that_is_clicked_while_times_are_measured_is_looked_at_after(page, engine, monkeypatch):
    monkeypatch.setattr(engine, "measuring", 2.0)
    before = len(engine.looked)
    page.click("#run")
    page.wait_for_selector(".board[data-state=measuring]")
    page.wait_for_function("document.querySelector('.lens .words').textContent.startsWith('Click a word: once')")
    assert page.is_disabled("#saver .opener")
    page.click(".card[data-side=pruned] .piece:nth-child(3)")
    assert "After that, “car” is looked at" in page.inner_text(".lens .words") and len(engine.looked) == before
    page.wait_for_function("document.querySelector('.lens .words').textContent.includes('after “a blue”')")
    page.wait_for_selector(".scrubber[data-mode=looks]")
    assert len(engine.looked) > before and page.is_enabled("#saver .opener")
    page.click("button[data-mode=patches]")


def test_how_much_of_the_asked_object_is_left_is_said_of_a_scene(page):
    run_with(page, ".picker button:nth-child(1)")
    left = []
    for layer in (1, 6, 12):
        to_layer(page, layer)
        told = re.search(r"Of the sign: (\d+) of (\d+) patches left", page.inner_text("#scrubber"))
        left.append((int(told[1]), int(told[2])))
    (first, whole), *later = left
    assert whole > 4 and whole >= first >= later[0][0] >= later[1][0] and {count for _, count in left} == {whole}


def test_an_unsure_answer_says_so_and_why(page, engine):
    """Without moving anything: a word in the heading of its card, and the sentence behind it."""
    assert page.locator(".doubt").all_inner_texts() == ["", ""]
    engine.doubt = "Unsure: of 50 answers as sure, 40 were not the original's."
    before = [page.locator("#answers .answer").nth(side).bounding_box() for side in (0, 1)]
    run_with(page, "#run")
    page.hover(".card[data-side=pruned] .doubt .fp-info")
    assert page.inner_text("#fp-tip") == engine.doubt
    assert "unsure" in page.inner_text(".card[data-side=pruned] h2")
    assert "unsure" not in page.inner_text(".card[data-side=original] h2")
    assert [page.locator("#answers .answer").nth(side).bounding_box() for side in (0, 1)] == before
    engine.doubt = ""
    run_with(page, "#run")
    assert page.locator(".doubt .fp-info").count() == 0


def test_every_figure_says_what_it_is(page):
    page.hover("#answers .hero .fp-info")
    page.wait_for_selector("#fp-tip:not([hidden])")
    assert "Counted" in page.inner_text("#fp-tip")
    assert page.locator("#answers .fp-info").count() == 7


def test_a_phone_scrolls_one_way_only_and_a_tap_tells(browser, url):
    phone = opened(browser, url, "dark", **PHONE)
    phone.wait_for_selector(".scrubber[data-state=full]")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.evaluate("[...document.querySelectorAll('footer .divider')].every((dot) => !dot.offsetWidth)")
    phone.locator("#scrubber .frame canvas").scroll_into_view_if_needed()
    phone.locator("#scrubber .frame > canvas").tap(position={"x": 170, "y": 170})
    phone.wait_for_function("document.querySelector('#scrubber .detail').textContent.startsWith('Row')")
    phone.context.close()


def test_of_many_layers_the_strip_shows_the_one_that_is_chosen(browser):
    """On a phone 32 do not fit: the strip goes to the chosen one, and fades where it goes on; the page stays."""
    whole = """(layer) => {
      const strip = document.querySelector('#scrubber .strip'), box = strip.getBoundingClientRect();
      const button = strip.children[layer - 1].getBoundingClientRect();
      return button.top >= box.top && button.bottom <= box.bottom && strip.dataset.more !== strip.dataset.before;
    }"""
    with served(FakeEngine(("a car", "a bus"), shape=Shape(layers=32, grid=8))) as url:
        page = opened(browser, url, **PHONE)
        page.wait_for_selector(".scrubber[data-layer='32']")
        page.wait_for_function(whole, arg=32)
        for layer in (1, 32):
            scrolled = page.evaluate("scrollY")
            page.evaluate(
                """(layer) => { const range = document.querySelector('#scrubber input[type=range]');
              range.value = layer; range.dispatchEvent(new Event('input', { bubbles: true })); }""",
                layer,
            )
            page.wait_for_function(whole, arg=layer)
            assert page.evaluate("scrollY") == scrolled
        page.context.close()


def test_a_map_of_next_to_nothing_is_not_drawn(browser, monkeypatch):
    engine = FakeEngine(("a red car", "a blue car"))

    def look(*args, **options):
        (looked,) = FakeEngine.look(engine, *args, **options)
        weights = np.linspace(1e-9, 1e-9, 12)[:, None] * np.ones(TOKENS)
        weights[4] = 0.2 / TOKENS
        sights = tuple(dataclasses.replace(sight, attention=weights) for sight in looked.sights)
        yield dataclasses.replace(looked, sights=sights)

    monkeypatch.setattr(engine, "look", look)
    with served(engine) as url:
        page = opened(browser, url)
        page.wait_for_selector("button[data-mode=looks]")
        page.click("button[data-mode=looks]")
        page.wait_for_selector(".scrubber[data-layer='5'][data-map=true]")
        ramp = "getComputedStyle(document.querySelector('#scrubber .ramp.looks')).backgroundImage"
        assert page.evaluate(ramp).count("rgba(") == 10
        page.wait_for_timeout(300)
        drawn = page.evaluate(BRIGHTNESS)
        to_layer(page, 1)
        page.wait_for_selector(".scrubber[data-map=false]")
        told = page.inner_text("#scrubber .detail")
        assert "< 0.1 % of its attention here" in told and "Layer 5 gives them most: 20 %." in told
        assert page.is_hidden(".looks-key")
        assert page.evaluate(BRIGHTNESS) != drawn
        page.context.close()


NARROW = pytest.mark.parametrize("width", [390, 1024])
# Whether no text within goes beyond its box.
WHOLE = """(name) => [...document.querySelectorAll(name)].every((node) => node.scrollWidth <= node.clientWidth + 1
  && node.scrollHeight <= node.clientHeight + 1 && node.clientWidth > 20)"""


@NARROW
def test_the_words_that_matter_are_whole_on_narrow_pages(page, engine, width):
    size, long = (
        page.viewport_size,
        "a brown cup at the top right, a green cup at the left, a brown house in the center",
    )
    page.set_viewport_size({"width": width, "height": 800})
    engine.delay, engine.doubt, engine.answers = 0.0, "Its least sure token leads by little.", (long, long + " there")
    try:
        run_with(page, ".picker button:nth-child(1)")
        assert page.evaluate(WHOLE, "#answers .truth")
        assert page.inner_text(".card[data-side=pruned] .who") == "FitPrune"
        boxes = page.evaluate("""() => ['.card', '.card .mark', '.card .who'].map((name) =>
          [...document.querySelectorAll(name)].map((node) => node.getBoundingClientRect())
            .map((box) => [box.left, box.right]))""")
        for card, mark, who in zip(*boxes, strict=True):
            assert card[0] < who[0] < who[1] < card[1] and mark[1] < card[1]
        assert page.evaluate(WHOLE, ".card .answer")
        engine.answers = (long, " and ".join([long] * 6))
        run_with(page, "#run")
        page.wait_for_selector(".card[data-side=pruned] .answer[data-more=true]")
        page.evaluate("document.querySelector('.card[data-side=pruned] .answer').scrollTop = 9999")
        page.wait_for_selector(".card[data-side=pruned] .answer[data-more=false]")
    finally:
        engine.delay, engine.doubt, engine.answers = 0.05, "", ("a red car", "a blue car")
        page.set_viewport_size(size)


@pytest.mark.parametrize("answers", [("", ""), ("a red car", "")])
def test_an_empty_answer_says_so(page, engine, answers):
    engine.answers = answers
    try:
        run_with(page, "#run")
        assert "(empty answer)" in page.inner_text(".card[data-side=pruned] .answer")
        wanted = "Different answers" if answers[0] else "Both are empty"
        assert page.text_content(".verdict .word") == wanted
    finally:
        engine.answers = ("a red car", "a blue car")


def test_the_chosen_example_is_named_and_marked(page):
    run_with(page, ".picker button:nth-child(3)")
    pressed = page.locator("#gallery .picker button[aria-pressed=true]")
    title = load_examples()[2].title
    assert pressed.count() == 1 and pressed.locator("img").get_attribute("alt") == title
    assert page.inner_text("#gallery .title") == title
    page.hover("#gallery .picker button:nth-child(5)")
    assert page.inner_text("#gallery .title") == load_examples()[4].title
    page.focus("#gallery .picker button:nth-child(2)")
    assert page.inner_text("#gallery .title") == load_examples()[1].title
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    assert page.inner_text("#gallery .title") == title
    run_with(page, "#new-scene")
    assert pressed.count() == 0 and page.inner_text("#gallery .title") == ""


def test_the_options_of_a_side_have_a_label_and_its_methods_a_sentence(page):
    page.click("#sides summary")
    page.select_option("#fp-right-method", "random")
    assert page.inner_text("#sides [data-side=right] .more span") == "Options"
    assert "baseline" in page.get_attribute("#fp-right-method option[value=random]", "title")
    assert "gradient" in page.evaluate("getComputedStyle(document.querySelector('#fp-right-method')).backgroundImage")
    page.select_option("#fp-right-method", "fitprune")
    page.click("#sides summary")
