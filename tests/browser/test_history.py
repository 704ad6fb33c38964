"""The history of a session: what was compared comes back, pinned, named, side by side; and belongs to one tab alone."""

from __future__ import annotations

import json

import pytest

from tests.browser.conftest import opened
from tests.browser.pages import run_with, white_picture

pytestmark = pytest.mark.browser

OPENER = "#history .opener"


def remembered(page, count: int) -> None:
    page.wait_for_function(f"document.querySelector('{OPENER}')?.textContent === 'History ({count})'")


def open_history(page) -> None:
    page.click(OPENER)
    page.wait_for_selector("#history dialog[open]")


def names(page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('#history .name')].map((n) => n.value || n.placeholder)")


def ask(page, question: str) -> None:
    page.fill("#question textarea", question)
    run_with(page, "#run")


def test_every_finished_comparison_is_remembered_the_newest_first(page):
    remembered(page, 1)
    ask(page, "What is new?")
    remembered(page, 2)
    ask(page, "What is newer?")
    remembered(page, 3)
    open_history(page)
    assert names(page)[:2] == ["What is newer?", "What is new?"]
    page.keyboard.press("Escape")
    page.wait_for_selector("#history dialog", state="hidden")
    assert page.evaluate("document.activeElement.textContent") == "History (3)"


@pytest.mark.parametrize("width", [1440, 390])
def test_each_names_both_sides_and_says_what_came_of_it(page, width):
    size = page.viewport_size
    page.set_viewport_size({"width": width, "height": 844})
    open_history(page)
    first = page.locator("#history li").first
    assert first.locator(".sides").inner_text() == "Original | FitPrune 60 %"
    assert first.locator(".verdict").inner_text() == "≠ Different answers"
    whole = "(nodes) => nodes.every((node) => node.scrollWidth <= node.clientWidth && node.clientWidth > 100)"
    assert first.locator(".verdict, .about").evaluate_all(whole)
    page.click("#history .close")
    page.set_viewport_size(size)


def test_sides_that_both_prune_are_both_named_and_so_is_where_one_comes_from(page):
    page.wait_for_selector(".board[data-state=done]")
    kept = page.evaluate("window.fpHistory")
    entry = json.loads(kept[0]["text"])
    fastv = {**entry["comparison"], "method": "fastv", "reduction": 0.4}
    entry["comparison"]["against"] = fastv
    changed = [{**kept[0], "text": json.dumps(entry), "origin": "Made beforehand"}, *kept[1:]]
    page.evaluate("(list) => { window.fpHistory = list; }", changed)
    open_history(page)
    assert page.locator("#history .sides", has_text="FastV 40 % | FitPrune 60 %").count() == 1
    assert page.locator("#history .about", has_text="Made beforehand").count() == 1
    page.click("#history .close")
    page.evaluate("(list) => { window.fpHistory = list; }", kept)


def test_one_is_pinned_and_named_and_stays_so_over_a_reload(page):
    open_history(page)
    page.fill("#history li:nth-child(2) .name", "The one to show")
    page.keyboard.press("Tab")
    page.click("#history li:nth-child(2) .pin")
    page.wait_for_function("document.querySelector('#history .name').value === 'The one to show'")
    assert page.get_attribute("#history li:nth-child(1) .pin", "aria-pressed") == "true"
    assert page.evaluate("document.activeElement === document.querySelector('#history li:nth-child(1) .pin')")
    page.reload()
    remembered(page, 3)
    open_history(page)
    assert names(page)[0] == "The one to show"
    page.click("#history .close")


def test_a_click_right_after_a_name_was_typed_counts(page):
    """The field's change comes with the click that leaves it, and must not draw the button anew under the pointer."""
    open_history(page)
    page.fill("#history li:nth-child(3) .name", "Another")
    page.click("#history li:nth-child(3) .pin")
    page.wait_for_function("document.querySelectorAll('#history .pin[aria-pressed=true]').length === 2")
    assert "Another" in names(page)[:2]
    line = page.locator("#history li", has=page.locator(".name[aria-label='Name of Another']"))
    assert line.locator("[type=checkbox]").get_attribute("aria-label") == "Choose Another"
    line.locator(".pin").click()
    page.click("#history .close")


def test_side_by_side_has_marks_times_and_the_picture_in_its_shape(page):
    open_history(page)
    lines = page.locator("#history li")
    for at in (0, lines.count() - 1):  # of the example's own question the true answer is known
        lines.nth(at).locator("[type=checkbox]").check()
    page.click("#history .both")
    columns = page.locator("#history article")
    judged = [columns.nth(at).locator(".mark").all_inner_texts() for at in (0, 1)]
    assert sorted(judged) == [[], ["✗ wrong", "✗ wrong"]]
    times = page.locator("#history article tr", has_text="Time to the first token").all_inner_texts()
    assert len(times) == 2 and all(text.count(" ms") == 2 for text in times)
    size = page.viewport_size
    page.set_viewport_size({"width": 390, "height": 844})
    box = page.locator("#history canvas").first.bounding_box()
    assert abs(box["width"] - box["height"]) < 2  # as the picture
    page.set_viewport_size(size)
    page.click("#history .back")
    for at in (0, lines.count() - 1):
        lines.nth(at).locator("[type=checkbox]").uncheck()
    page.click("#history .close")


def test_keys_of_the_page_wait_while_the_list_is_open(page, engine):
    open_history(page)
    page.evaluate("document.activeElement.blur()")
    asked = len(engine.asked)
    for key in ("r", "f", "ArrowLeft"):
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    assert len(engine.asked) == asked and page.is_hidden("#presenter .hall")
    page.click("#history .close")


def test_one_is_opened_again_without_a_run(page, engine):
    page.wait_for_selector(".board[data-state=done]")
    ask(page, "What came later?")
    remembered(page, 4)
    asked = len(engine.asked)
    open_history(page)
    page.click("#history li:nth-child(1) .open")  # the pinned one, of the same example
    page.wait_for_function("document.querySelector('#notice').textContent.includes('Shown again')")
    page.wait_for_timeout(500)
    assert page.input_value("#question textarea") == "What is new?" and len(engine.asked) == asked
    assert page.get_attribute(".board", "data-stale") == "false" and page.is_visible("#picture img")
    assert "example=0" in page.evaluate("location.search")
    remembered(page, 4)
    run_with(page, "#run")
    assert engine.asked[-1][1] == "What is new?"


def test_of_a_picture_that_is_still_there_it_keeps_the_picture(page, engine):
    shown = page.get_attribute("#picture img", "src")
    page.set_input_files("#picture input[type=file]", files=[white_picture()])
    page.wait_for_function("shown => document.querySelector('#picture img')?.src !== shown", arg=shown)
    ask(page, "Which one?")
    ask(page, "Which other?")
    open_history(page)
    page.click("#history li:has([placeholder='Which one?']) .open")
    page.wait_for_function("document.querySelector('#question textarea').value === 'Which one?'")
    page.wait_for_function("document.querySelector('.board').dataset.stale === 'false'")
    assert page.is_visible("#picture img")
    run_with(page, ".picker button:nth-child(2)")
    open_history(page)
    page.click("#history li:has([placeholder='Which one?']) .open")
    page.wait_for_function("document.querySelector('#question textarea').value === 'Which one?'")
    page.wait_for_selector("#picture img", state="detached")
    page.wait_for_function("document.querySelector('.board').dataset.stale === 'false'")


def test_two_stand_side_by_side(page):
    open_history(page)
    page.check("#history li:nth-child(2) input[type=checkbox]")
    assert page.is_disabled("#history .both")
    page.check("#history li:nth-child(3) input[type=checkbox]")
    questions = names(page)[1:3]
    page.click("#history .both")
    assert page.locator("#history .two h3").all_inner_texts() == questions
    assert page.locator("#history .two .answer").all_inner_texts() == ["a red car", "a blue car"] * 2
    assert "layer 12 of 12" in page.inner_text("#history .two article:nth-child(1) .layer")
    page.fill("#history .depth input", "0")
    assert "layer 1 of 12" in page.inner_text("#history .two article:nth-child(2) .layer")
    assert page.evaluate("[...document.querySelectorAll('#history .two canvas')].every((c) => c.width > 100)")
    page.click("#history .back")
    assert page.locator("#history li input:checked").count() == 2
    page.click("#history .close")
    assert page.problems == []


def test_one_is_removed_and_stays_so(page):
    count = int(page.inner_text(OPENER).strip("History ()"))
    open_history(page)
    page.click("#history li:last-child .remove")
    remembered(page, count - 1)
    page.click("#history .close")
    page.get_by_role("tab", name="About").click()
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_timeout(300)
    remembered(page, count - 1)


def test_another_visitor_sees_nothing_of_it(page, browser, url):
    other = opened(browser, url)
    remembered(other, 1)
    open_history(other)
    assert names(other) == [other.input_value("#question textarea")]
    other.context.close()
