"""Runs on Compare in a real browser: begun, stopped, refused where one looks, and old once something else is asked."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.app.fake_engine import FakeEngine
from tests.app.pictures import bad_files, odd_pictures
from tests.app.serving import served
from tests.browser.conftest import new_page
from tests.browser.pages import age, run_after, run_with, upload

pytestmark = pytest.mark.browser
SEEN = """(name) => { const box = document.querySelector(name).getBoundingClientRect();
  return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight; }"""


def test_r_runs_but_not_while_typing(page, engine):
    before = len(engine.asked)
    page.focus("#question textarea")
    page.keyboard.press("r")
    page.evaluate("document.activeElement.blur()")
    assert len(engine.asked) == before
    run_after(page, lambda: page.keyboard.press("r"))
    assert len(engine.asked) == before + 1


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1024, 768)])
def test_an_error_is_where_one_looks(page, width, height):
    """Under Run, or brought there where that is out of sight."""
    size, question = page.viewport_size, page.input_value("#question textarea")
    page.set_viewport_size({"width": width, "height": height})
    try:
        page.fill("#question textarea", "")
        page.click("#run")
        page.wait_for_function("document.querySelector('#notice [role=alert]').textContent.includes('is empty')")
        page.wait_for_function(SEEN, arg="#notice .notice")
        run, notice = (page.locator(name).bounding_box() for name in ("#run", "#notice"))
        assert 0 <= notice["y"] - run["y"] - run["height"] <= 12
        page.evaluate("scrollTo(0, 1e6); document.activeElement.blur()")
        page.keyboard.press("r")
        page.wait_for_function(SEEN, arg="#notice .notice")
    finally:
        page.set_viewport_size(size)
        page.fill("#question textarea", question)
        run_with(page, "#run")


def test_an_error_is_told_and_the_result_stays(page):
    answer = page.inner_text(".card[data-side=pruned] .answer")
    page.fill("#question textarea", "")
    page.click("#run")
    page.wait_for_function("document.querySelector('#notice [role=alert]').textContent.includes('question is empty')")
    assert page.inner_text(".card[data-side=pruned] .answer") == answer
    page.fill("#question textarea", "<b>What</b> is ${1+1} {{it}}?")
    run_with(page, "#run")
    assert page.problems == []


def test_files_that_are_no_pictures_are_told_and_the_result_stays(page, tmp_path):
    run_with(page, ".picker button:nth-child(1)")
    answer = page.inner_text(".card[data-side=pruned] .answer")
    for path in bad_files(tmp_path):
        upload(page, path)
        page.click("#run")
        page.wait_for_function(
            "name => document.querySelector('#notice [role=alert]').textContent.includes(name)", arg=path.name
        )
        assert "Traceback" not in page.inner_text("#notice")
        assert page.inner_text(".card[data-side=pruned] .answer") == answer
        assert page.get_attribute(".board", "data-state") == "done"
        assert (
            page.locator("#gallery .picker button[aria-pressed=true]").count() == 0
        )  # another picture is in its place
    run_with(page, ".picker button:nth-child(1)")


def test_a_file_that_no_browser_shows_says_so_and_no_example_is_marked(page, tmp_path):
    marked = "#gallery .picker button[aria-pressed=true]"
    page.wait_for_selector(marked)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    upload(page, tmp_path / "broken.png")
    page.wait_for_selector("#picture.unseen")
    content = "getComputedStyle(document.querySelector('#picture .image-container'), '::after').content"
    assert "cannot show this file" in page.evaluate(content)
    assert page.locator(marked).count() == 0 and page.is_hidden("#picture img")
    run_with(page, ".picker button:nth-child(1)")
    page.wait_for_selector("#picture:not(.unseen)")
    assert page.locator(marked).count() == 1


def test_odd_pictures_are_answered_and_drawn(page, engine, tmp_path):
    for path, size in odd_pictures(tmp_path):
        upload(page, path)
        run_with(page, "#run")
        assert engine.asked[-1][0] == size, path.name
        assert page.get_attribute("#scrubber .scrubber", "data-state") == "full"
    run_with(page, ".picker button:nth-child(1)")


def test_a_question_that_is_too_long_is_told(page):
    page.fill("#question textarea", "why " * 25_000)
    page.click("#run")
    page.wait_for_function("document.querySelector('#notice [role=alert]').textContent.includes('99,999 characters')")
    page.fill("#question textarea", "What is it?")


def test_where_nothing_was_answered_there_is_nothing_to_stop_or_save(browser):
    engine = FakeEngine()
    engine.is_demo, engine.model_name = False, "a-large-one"  # it does not run by itself
    with served(engine) as url:
        page = new_page(browser, viewport={"width": 390, "height": 844})
        page.goto(url)
        page.wait_for_selector(".board[data-state=idle]")
        page.wait_for_function("document.querySelector('#saver .opener')?.disabled")
        assert page.is_disabled("#stop") and "Run, then click" in page.inner_text(".lens .words")
        run_with(page, "#run")
        page.wait_for_function("!document.querySelector('#saver .opener').disabled")
        page.context.close()


def test_stop_brings_back_the_result_from_before(page, engine):
    engine.delay, before = 4.0, page.inner_text(".card[data-side=original] .answer")
    try:
        page.click("#run")
        page.wait_for_selector(".board[data-state=running]")
        page.click("#stop")
        page.wait_for_function("document.querySelector('#notice').textContent.includes('Stopped')")
        page.wait_for_selector(".board[data-state=done]")
        assert page.inner_text(".card[data-side=original] .answer") == before
    finally:
        engine.delay = 0.05
    run_with(page, "#run")


@pytest.mark.parametrize("clicks", [2, 5])
def test_run_and_run_again_then_stop_leaves_nothing_running(page, engine, clicks):
    """However often Run was pressed, Stop ends it: no "Answering" stays, and the result from before is back."""
    engine.delay, before = 4.0, page.inner_text(".card[data-side=original] .answer")
    try:
        for _ in range(clicks):
            page.click("#run")
        page.wait_for_selector(".board[data-state=running]")
        page.wait_for_timeout(300)
        page.click("#stop")
        page.wait_for_selector(".board[data-state=done]")
        page.wait_for_timeout(5000)  # longer than a word takes: nothing comes back to life
        assert page.get_attribute(".board", "data-state") == "done"
        assert page.inner_text(".card[data-side=original] .answer") == before
        assert "Stopped" in page.inner_text("#notice")
        assert page.is_disabled("#stop")
    finally:
        engine.delay = 0.05


def test_a_key_that_is_held_down_runs_once(page, engine):
    page.evaluate("document.activeElement.blur()")
    before = len(engine.asked)
    run_after(page, lambda: [page.keyboard.down("r") for _ in range(8)])
    page.keyboard.up("r")
    page.focus("#question textarea")
    run_after(page, lambda: [page.keyboard.down("Enter") for _ in range(8)])
    page.keyboard.up("Enter")
    page.wait_for_timeout(500)
    assert len(engine.asked) == before + 2


def test_a_result_of_another_question_or_budget_looks_old_until_it_is_asked_again(page):
    page.fill("#question textarea", "What is it?")
    run_with(page, "#run")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    known = -1
    while known < len(asked):  # the history asks for what a run found, once that is whole
        known = len(asked)
        page.wait_for_timeout(1500)
    asked.clear()
    height = page.evaluate("document.documentElement.scrollHeight")
    page.fill("#question textarea", "What is that?")
    age(page, "This result is for “What is it?” at 60 %.")
    page.fill("#question textarea", " What  is it? ")
    page.wait_for_function("document.querySelector('.board').dataset.stale === 'false'")
    page.fill("#budget input[type=number]", "80")
    page.keyboard.press("Tab")
    age(page, "“What is it?” at 60 %.")
    assert page.evaluate("document.documentElement.scrollHeight") == height
    assert [url for url in asked if "gradio_api" in url and "heartbeat" not in url] == []
    run_with(page, "#run")
    page.wait_for_function("document.querySelector('.board').dataset.stale === 'false'")
    page.fill("#budget input[type=number]", "60")
    page.keyboard.press("Tab")
    age(page, "at 80 %")
    run_with(page, "#run")
    page.wait_for_function("document.querySelector('.board').dataset.stale === 'false'")


def test_a_result_of_another_picture_looks_old(page, tmp_path):
    Image.new("RGB", (96, 96), "navy").save(tmp_path / "other.png")
    upload(page, tmp_path / "other.png")
    age(page, "This result is for the earlier picture, “")
    run_with(page, "#run")
    page.wait_for_function("document.querySelector('.board').dataset.stale === 'false'")
    run_with(page, ".picker button:nth-child(1)")
    page.wait_for_function("document.querySelector('.board').dataset.stale === 'false'")
