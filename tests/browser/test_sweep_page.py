"""Sweep in a real browser: the grid fills, says how far the answer holds, and a cell opens in Compare."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

import pytest

from tests.browser.conftest import DESK, opened
from tests.browser.pages import run_with, to_tab

pytestmark = pytest.mark.browser


@pytest.fixture
def sweep(browser, url):
    page = opened(browser, url, viewport=DESK)
    page.click("button[role=tab]:has-text('Sweep')")
    yield page
    page.context.close()


def test_the_grid_fills_and_says_how_far_the_answer_holds(sweep):
    sweep.click("#sweep")
    sweep.wait_for_function("document.querySelector('#grid .status').textContent.startsWith('All')")
    assert sweep.inner_text("#grid .original").startswith("Original: a red car")
    assert sweep.inner_text("#grid tbody tr:first-child .holds") == "holds up to 60\u00a0%"
    differing = sweep.locator("#grid tbody tr:first-child .cell.differs")
    assert differing.count() == 2 and "≠ a blue car" in differing.first.inner_text()
    facts = sweep.locator("#grid tbody tr:first-child .cell .facts span").all_inner_texts()
    wanted = (r"\d+ left", r"[\d.]+ [GM]", r"margin 0\.\d\d", r"\d+ ms")
    assert len(facts) == 20 and all(re.fullmatch(wanted[at % 4], text) for at, text in enumerate(facts))
    assert sweep.locator("#grid svg .line").count() == 2  # a method each
    assert sweep.locator("#grid svg .mark").count() == 10 and sweep.locator("#grid svg .mark.other").count() == 4
    assert "margin" in sweep.locator("#grid svg .mark title").first.text_content()
    assert sweep.problems == []


def test_what_was_answered_stays_while_the_rest_comes(sweep, engine):
    """Whoever has it in focus, or is about to click it, keeps it."""
    engine.delay = 0.4
    try:
        sweep.click("#sweep")
        sweep.wait_for_selector("#grid button.cell")
        sweep.focus("#grid button.cell")
        sweep.evaluate("window.held = document.activeElement")
        sweep.wait_for_function("document.querySelectorAll('#grid button.cell').length > 2")
        assert sweep.evaluate("document.activeElement === window.held && window.held.isConnected")
    finally:
        engine.delay = 0.05
    sweep.wait_for_function("document.querySelector('#grid .status').textContent.startsWith('All')")


def test_a_cell_opens_in_compare_at_its_budget(sweep, engine):
    sweep.click("#sweep")
    sweep.wait_for_function("document.querySelector('#grid .status').textContent.startsWith('All')")
    asked = len(engine.asked)
    sweep.click("#grid tbody tr:first-child td:nth-child(5) button")
    sweep.wait_for_selector("#answers", state="visible")
    while len(engine.asked) == asked:
        sweep.wait_for_timeout(50)
    assert engine.asked[-1][2] == 80 and engine.sides[-1][1] == "fitprune"
    sweep.click("button[role=tab]:has-text('Sweep')")
    asked = len(engine.asked)
    sweep.click("#grid tbody tr:last-child td:nth-child(3) button")
    while len(engine.asked) == asked:
        sweep.wait_for_timeout(50)
    assert engine.asked[-1][2] == 40 and engine.sides[-1][1] == "random"


def test_a_cell_opens_with_what_was_swept_though_compare_went_on(sweep, engine):
    sweep.click("#sweep")
    sweep.wait_for_function("document.querySelector('#grid .status').textContent.startsWith('All')")
    swept, shown = sweep.inner_text("#grid .question"), sweep.evaluate("location.search")
    to_tab(sweep, "Compare")
    run_with(sweep, ".picker button:nth-child(4)")
    assert sweep.input_value("#question textarea") != swept
    to_tab(sweep, "Sweep")
    sweep.click("#grid tbody tr:first-child td:nth-child(5) button")
    sweep.wait_for_selector("#answers", state="visible")
    sweep.wait_for_function("text => document.querySelector('#question textarea').value === text", arg=swept)
    sweep.wait_for_selector(".board[data-state=done][data-stale=false]")
    assert engine.asked[-1][1:] == (swept, 80)
    example = parse_qs(shown.lstrip("?"))["example"]
    sweep.wait_for_function("wanted => new URLSearchParams(location.search).get('example') === wanted", arg=example[0])


def test_a_sweep_without_a_method_is_told_in_a_sentence(sweep):
    checked = sweep.locator("#sweep-methods input:checked")
    while checked.count():
        checked.first.uncheck()
    sweep.click("#sweep")
    sweep.wait_for_function("document.querySelector('#sweep-notice').textContent.includes('neither of them empty')")


@pytest.mark.parametrize("width", [390, 1024])
def test_how_far_the_answer_holds_shows_on_narrow_pages_and_words_of_the_plot_keep_their_size(sweep, width):
    sweep.click("#sweep")
    sweep.wait_for_function("document.querySelector('#grid .status').textContent.startsWith('All')")
    sweep.set_viewport_size({"width": width, "height": 768})
    sweep.wait_for_timeout(400)
    scroll = sweep.evaluate("""() => {
      const box = document.querySelector('#grid .scroll'), before = box.dataset.more;
      box.scrollLeft = 9999;
      return [box.scrollWidth > box.clientWidth, before];
    }""")
    assert scroll in ([True, "true"], [False, "false"])
    assert scroll[0] == (width == 390)
    sweep.wait_for_selector("#grid .scroll[data-more=false]")
    held = sweep.locator("#grid tbody tr:first-child .holds").bounding_box()
    assert held["x"] >= 0 and held["x"] + held["width"] <= width and held["width"] > 40
    scale = "(() => { const svg = document.querySelector('#grid svg'); return svg.getScreenCTM().a; })()"
    assert sweep.evaluate(scale) == pytest.approx(1, abs=0.01)
