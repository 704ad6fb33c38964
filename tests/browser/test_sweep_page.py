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
    assert sweep.inner_text("#grid .original").startswith("Original: ✗ a red car")
    assert sweep.inner_text("#grid tbody tr:first-child .holds") == "holds up to 60\u00a0%"
    differing = sweep.locator("#grid tbody tr:first-child .cell.differs")
    assert differing.count() == 2 and "≠ a blue car" in differing.first.inner_text()
    facts = sweep.locator("#grid tbody tr:first-child .cell .facts span").all_inner_texts()
    wanted = (r"\d+ left", r"margin 0\.\d\d")
    assert len(facts) == 10 and all(re.fullmatch(wanted[at % 2], text) for at, text in enumerate(facts))
    heads = sweep.locator("#grid thead th").all_inner_texts()
    assert len(heads) == 6 and all(re.fullmatch(r"\d\d % · [\d.]+ [GM]", text) for text in heads[1:])
    assert not re.search(r"\d m?s\b", sweep.inner_text("#grid"))  # of a single run a time says nothing
    assert sweep.locator("#grid svg .line").count() == 2  # a method each
    names = sweep.locator("#grid svg .name").evaluate_all("nodes => nodes.map((node) => node.firstChild.data)")
    assert names == ["fitprune", "random"]
    assert sweep.locator("#grid svg .mark").count() == 11 and sweep.locator("#grid svg .mark.other").count() == 4
    assert "margin" in sweep.locator("#grid svg .mark title").first.text_content()
    assert sweep.problems == [] and "margin" in sweep.locator("#grid svg .tick").all_text_contents()
    row = sweep.locator("#grid tbody tr:last-child th").inner_text()
    assert row.startswith("random") and "holds" in row


def test_stop_can_be_pressed_while_something_runs_and_stays_in_its_place(browser, url, engine):
    page = opened(browser, url, viewport={"width": 1024, "height": 768})
    to_tab(page, "Sweep")
    assert page.is_disabled("#sweep-stop")
    places = (
        "['#sweep', '#sweep-stop'].map((each) => document.querySelector(each).getBoundingClientRect().top + scrollY)"
    )
    before, engine.delay = page.evaluate(places), 0.3
    try:
        page.click("#sweep")
        page.wait_for_selector("#grid button.cell")
        assert page.evaluate(places) == before and page.locator("#grid").bounding_box()["y"] > before[0]
        page.click("#sweep-stop:enabled")
        page.wait_for_selector("#sweep-stop:disabled")
    finally:
        engine.delay = 0.05
    assert page.evaluate(places) == before and "Stopped." in page.inner_text("#sweep-notice")
    page.context.close()


LONG = "a red house in the top left, a blue car in the middle, a green tree at the bottom and a yellow sun at the top"


def test_of_long_answers_the_place_where_they_differ_is_shown_and_all_on_demand(sweep, engine):
    other = LONG.replace("green", "brown")
    kept, engine.answers = engine.answers, (LONG, other)
    try:
        sweep.click("#sweep")
        sweep.wait_for_function("document.querySelector('#grid .status').textContent.startsWith('All')")
    finally:
        engine.answers = kept
    said = sweep.locator("#grid .cell.differs .said").first
    assert "✗ ≠ … the middle, a brown tree" in said.inner_text() and said.locator("b").inner_text() == "brown"
    sweep.set_viewport_size({"width": 390, "height": 844})
    sweep.click("#grid .whole")
    assert said.inner_text().endswith(other)
    cut = "[...document.querySelectorAll('#grid .said')].some((said) => said.scrollHeight > said.clientHeight + 1)"
    assert not sweep.evaluate(cut) and sweep.evaluate("document.documentElement.scrollWidth") <= 390
    sweep.click("#grid .whole")
    assert "… the middle" in said.inner_text()


def test_short_answers_need_no_button_to_be_seen_whole(sweep):
    sweep.click("#sweep")
    sweep.wait_for_function("document.querySelector('#grid .status').textContent.startsWith('All')")
    assert sweep.is_hidden("#grid .whole")


def test_a_cell_is_come_back_from_by_the_browsers_own_button(sweep, engine):
    sweep.click("#sweep")
    sweep.wait_for_function("document.querySelector('#grid .status').textContent.startsWith('All')")
    sweep.click("#grid tbody tr:first-child td:nth-child(5) button")
    sweep.wait_for_selector("#answers", state="visible")
    sweep.go_back()
    sweep.wait_for_selector("#grid .status", state="visible")
    assert sweep.is_hidden("#answers")


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


def test_a_table_of_something_else_than_is_ticked_is_grey_and_says_what_it_is_of(sweep):
    sweep.click("#sweep")
    sweep.wait_for_function("document.querySelector('#grid .status').textContent.startsWith('All')")
    box = sweep.locator("#sweep-budgets input").first  # 10 %
    sweep.locator("#sweep-budgets input:checked").first.uncheck()
    box.check()
    sweep.wait_for_selector("#grid .grid[data-stale=true]")
    assert "This table is of 2 methods at 20 to 90 %." in sweep.inner_text("#grid .age")
    assert float(sweep.locator("#grid .scroll").evaluate("node => getComputedStyle(node).opacity")) < 0.6
    box.uncheck()
    sweep.locator("#sweep-budgets input").nth(1).check()
    sweep.wait_for_selector("#grid .grid[data-stale=false]")
    assert sweep.is_hidden("#grid .age")


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
