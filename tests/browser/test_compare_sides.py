"""Any two sides on the page, and what is found between them: marked words, looked-at tokens, painted patches, links."""

from __future__ import annotations

import pytest

from app.engine import Side
from fitprune_core.pruning.paint import Paint
from tests.app.fake_engine import tokens_of
from tests.browser.conftest import BRIGHTNESS, PHONE, new_page, opened
from tests.browser.pages import age, run_after, run_with, to_layer

pytestmark = pytest.mark.browser


def test_other_sides_are_chosen_named_linked_and_scrubbed(browser, url, engine):
    page = opened(browser, url)
    page.click("#sides summary")
    page.select_option("#fp-left-method", "random")
    page.fill("#sides [data-side=left] .options", "seed=4")
    page.fill("#sides [data-side=left] .percent", "20")
    page.select_option("#fp-right-method", "fastv")
    age(page, " %, Original and FitPrune. Run to answer")
    run_with(page, "#run")
    assert engine.sides[-1] == (Side("random:seed=4", 20), "fastv")
    age(page, "")
    assert page.inner_text(".card[data-side=original] .who") == "Random(seed=4)"
    assert page.inner_text(".card[data-side=original] .percent") == "20 %"
    assert page.inner_text("#sides .words") == "Random:seed=4 20 % | FastV"
    assert "left=random%3Aseed%3D4" in page.url and "left_budget=20" in page.url and "right=fastv" in page.url
    to_layer(page, 5)
    right = page.inner_text("#scrubber .count")
    page.select_option("#scrubber .sides", "1")
    assert page.inner_text("#scrubber .count") != right and page.get_attribute(".scrubber", "data-layer") == "5"
    page.reload()
    page.wait_for_function("window.results > 0")
    assert engine.sides[-1] == (Side("random:seed=4", 20), "fastv")
    page.select_option("#fp-left-method", "original")
    page.select_option("#fp-right-method", "fitprune")
    run_with(page, "#run")
    assert engine.sides[-1] == (Side("original", 60), "fitprune") and "left" not in page.url
    assert page.is_hidden("#scrubber .sides")
    page.context.close()


def test_words_that_differ_are_marked_in_both_answers(page):
    run_with(page, "#run")
    for side, word in (("original", "red"), ("pruned", "blue")):
        marked = page.locator(f".card[data-side={side}] .piece.differs").all_inner_texts()
        assert [text.strip() for text in marked] == [word]


def test_a_token_that_is_clicked_or_chosen_by_keyboard_is_looked_at(page, engine):
    run_with(page, "#run")
    assert "left “red” 90 %, right “red” 50 %; 0.125 bits apart" in page.inner_text(".lens .words")
    assert engine.looked[-1] == tokens_of("a") and page.get_attribute(".scrubber", "data-mode") == "patches"
    to_layer(page, 8)
    shown = page.evaluate(BRIGHTNESS)
    page.click(".card[data-side=pruned] .piece:nth-child(3)")
    page.wait_for_selector(".scrubber[data-mode=looks]")
    page.click("button[data-mode=patches]")
    page.click(".card[data-side=pruned] .piece:nth-child(3)")  # the same once more
    page.wait_for_selector(".scrubber[data-mode=looks]")
    assert engine.looked[-1] == tokens_of("a", "blue")
    assert page.inner_text(".card[data-side=pruned] .piece[aria-current]").strip() == "car"
    assert page.locator(".lens li").count() == 10 and "“a blue”" in page.inner_text(".lens .words")
    told = "text => document.querySelector('#scrubber .detail').textContent.startsWith(text)"
    page.wait_for_function(told, arg="Layer 1, where it looked most. Right, choosing “car”")
    assert page.get_attribute(".scrubber", "data-layer") == "1"  # that gives visual tokens most
    to_layer(page, 8)
    drawn = page.evaluate(BRIGHTNESS)
    assert drawn != shown and drawn[255] > drawn[128]  # attention grows with the token's number
    page.focus(".card[data-side=original] .answer")
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function(told, arg="Left, choosing “red”")
    assert engine.looked[-1] == tokens_of("a") and page.get_attribute(".scrubber", "data-layer") == "8"
    page.click("button[data-mode=patches]")
    run_with(page, "#run")
    page.click(".card[data-side=pruned] .piece:nth-child(3)")
    page.wait_for_selector(".scrubber[data-mode=looks]")
    to_layer(page, 8)
    page.click(".card[data-side=pruned] .piece:nth-child(2)")  # from word to word, one stays at one's layer
    page.wait_for_function(told, arg="Right, choosing “blue”")
    assert page.get_attribute(".scrubber", "data-layer") == "8"
    run_with(page, "#run")
    page.wait_for_function("!document.querySelector('.scrubber button[data-mode=looks]').hidden")
    page.click("button[data-mode=patches]")
    assert page.problems == []


def test_patches_are_painted_by_mouse_and_keyboard_and_asked_again(page, engine):
    run_with(page, "#run")
    to_layer(page, 12)
    page.click("button[data-mode=paint]")
    assert page.is_disabled(".painting .rerun")
    box = page.locator("#scrubber .frame canvas").bounding_box()
    side = min(box["width"], box["height"])
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2

    def point(row, column):
        return left + side / 16 * (column + 0.5), top + side / 16 * (row + 0.5)

    page.mouse.move(*point(2, 4))
    page.mouse.down()
    page.mouse.move(*point(2, 6), steps=8)
    page.mouse.up()
    page.wait_for_function("document.querySelector('.painted').textContent === '3 must stay, 0 must go'")
    page.click("[data-brush=go]")
    page.mouse.click(*point(0, 0))
    page.mouse.click(*point(2, 6))
    assert page.inner_text(".painted") == "2 must stay, 2 must go"
    page.mouse.click(*point(0, 0))  # once more takes it away
    page.focus("#scrubber .frame canvas")
    for key in ("ArrowRight", "ArrowDown", " "):  # the first arrow chooses the first patch
        page.keyboard.press(key)
    assert page.inner_text(".painted") == "2 must stay, 2 must go"
    run_after(page, lambda: page.click(".painting .rerun"))
    assert engine.painted[-1] == Paint((36, 37), (16, 38))
    assert page.inner_text(".card[data-side=pruned] .who") == "FitPrune, painted"
    assert page.inner_text(".painted") == "2 must stay, 2 must go"
    page.fill("#question textarea", "What else?")
    assert page.is_enabled(".painting .rerun")
    run_with(page, "#run")
    assert engine.painted[-1] == Paint() and page.inner_text(".card[data-side=pruned] .who") == "FitPrune"
    run_with(page, ".picker button:nth-child(5)")
    page.click("button[data-mode=paint]")
    assert page.inner_text(".painted").startswith("By pointer")
    page.click("button[data-mode=patches]")
    run_with(page, ".picker button:nth-child(1)")
    assert page.problems == []


def test_a_finger_paints_and_does_not_scroll(browser, url, engine):
    phone = opened(browser, url, "dark", **PHONE)
    phone.wait_for_selector(".board[data-looks=true]")
    phone.click("button[data-mode=paint]")
    canvas = phone.locator("#scrubber .frame > canvas")
    canvas.scroll_into_view_if_needed()
    canvas.tap(position={"x": 170, "y": 170})
    phone.wait_for_function("document.querySelector('.painted').textContent === '1 must stay, 0 must go'")
    assert phone.evaluate("getComputedStyle(document.querySelector('#scrubber .frame canvas')).touchAction") == "none"
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.context.close()


def test_the_address_leads_back_to_a_comparison(browser, url, engine):
    page = new_page(browser)
    page.goto(url + "?example=2&question=Who%20is%20it%3F&budget=40&layer=3")
    page.wait_for_function("window.results > 0")
    assert engine.asked[-1][1:] == ("Who is it?", 40)
    page.wait_for_selector(".scrubber[data-layer='3']")
    run_after(page, lambda: page.click(".picker button:nth-child(2)"))
    page.wait_for_function("location.search.includes('example=1')")
    asked = engine.asked[-1][1:]
    page.reload()
    page.wait_for_function("window.results > 0")
    assert engine.asked[-1][1:] == asked
    page.goto(url + "?example=99&question=x")
    page.wait_for_function(
        "(document.querySelector('#notice') || document.body).textContent.includes('no such example')"
    )
    asked = len(engine.asked)
    page.wait_for_timeout(1000)
    assert len(engine.asked) == asked and "no such example" in page.inner_text("#notice")
    page.context.close()
