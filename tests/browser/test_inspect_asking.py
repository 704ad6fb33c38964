"""Questions asked on Inspect in a real browser: a run begins, its end is seen, and its rows have their pictures."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.app.fake_engine import TOKENS
from tests.browser.conftest import DESK, opened
from tests.browser.pages import ask_many, box_of, count, open_results, to_layer, to_tab
from tests.tiny import random_picture

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]


def test_questions_are_asked_and_a_row_opens_in_compare(browser, url, engine):
    page = opened(browser, url, viewport=DESK)
    to_tab(page, "Inspect")
    ask_many(page, 10)
    assert count(page) == "10 of 10 questions"
    # Lines of the plot are named in the table beside it.
    swatches = page.locator("#table .sums .swatch").evaluate_all("nodes => nodes.map((node) => node.className)")
    lines = page.locator("#table .plot .line").evaluate_all("nodes => nodes.map((node) => node.getAttribute('class'))")
    assert [name.split()[1] for name in swatches] == [name.split()[1] for name in lines] and len({*swatches}) == 3
    page.click("#table .shows [data-show=lost]")
    assert count(page) == "5 of 10 questions"
    page.click("#table .line[data-place='2']")
    page.wait_for_selector("#row-picture img")
    question = page.inner_text("#table .row-detail .question")
    asked = len(engine.asked)
    page.click("#table .open")
    page.wait_for_function("q => document.querySelector('#question textarea').value === q", arg=question)
    page.wait_for_selector("#answers", state="visible")
    while len(engine.asked) == asked:
        page.wait_for_timeout(50)
    assert engine.asked[-1][1:] == (question, 60)
    page.wait_for_selector(".board[data-state=done][data-stale=false]")
    assert page.inner_text(".verdict .truth").startswith("Both are wrong: it is")
    to_layer(page, 12)
    removed = engine.recipe_for(60).removed
    assert page.inner_text("#scrubber .count").startswith(f"{TOKENS - sum(removed)} ")
    to_tab(page, "Inspect")
    page.click("#table .next")
    page.wait_for_function(
        "q => document.querySelector('#table .row-detail .question').textContent !== q", arg=question
    )
    page.context.close()


def test_rows_about_drawn_scenes_show_them_open_in_compare_and_are_come_back_to(browser, url, engine):
    page = opened(browser, url, viewport=DESK)
    to_tab(page, "Inspect")
    open_results(page, ROOT / "assets" / "guide" / "errors.csv")
    page.click("#table .shows [data-show=lost]")
    page.click("#table .line[data-place='6']")
    page.wait_for_function("document.querySelector('#row-picture img')?.naturalWidth > 100")
    question, place = page.inner_text("#table .row-detail .question"), page.inner_text("#table .place")
    assert place.endswith("30-409")
    asked = len(engine.asked)
    page.click("#table .open")
    page.wait_for_selector("#answers", state="visible")
    while len(engine.asked) == asked:
        page.wait_for_timeout(50)
    assert engine.asked[-1][1:] == (question, 60)
    page.wait_for_selector(".board[data-state=done][data-stale=false]")
    page.go_back()
    page.wait_for_selector("#table .row-detail", state="visible")
    assert page.inner_text("#table .place") == place and page.problems == []
    page.go_forward()
    page.wait_for_selector("#answers", state="visible")
    page.context.close()


def test_what_is_asked_stays_above_what_was_found_on_narrow_pages(browser, url):
    """Also while a run is on its way: a second click where Ask was is no other button."""
    page = opened(browser, url, viewport={"width": 1024, "height": 768})
    to_tab(page, "Inspect")
    page.locator("#ask-stop").scroll_into_view_if_needed()
    before = page.evaluate("document.querySelector('#ask-stop').getBoundingClientRect().top + scrollY")
    ask_many(page, 10)
    assert page.evaluate("document.querySelector('#ask-stop').getBoundingClientRect().top + scrollY") == before
    assert box_of(page, "#ask")["y"] < box_of(page, "#table")["y"] and page.is_disabled("#ask-stop")
    page.context.close()


def test_a_run_is_begun_and_its_end_seen_without_a_search(browser, url):
    """Ask is in sight; so are, once the answers are there, a row's picture, its answers and the way to the next."""
    page = opened(browser, url, viewport=DESK)
    to_tab(page, "Inspect")
    ask, stop = box_of(page, "#ask"), box_of(page, "#ask-stop")
    assert ask["y"] + ask["height"] <= DESK["height"] and ask["y"] == stop["y"]
    ask_many(page, 10)
    assert page.evaluate("scrollY") == 0 and box_of(page, "#inspect-notice")["y"] < box_of(page, "#table")["y"]
    page.wait_for_selector("#row-picture img")
    for part in ("#row-picture", "#table .answers", "#table .next"):
        box = box_of(page, part)
        assert box["y"] >= 0 and box["y"] + box["height"] <= DESK["height"], part
    assert box_of(page, "#table .row-detail")["y"] < box_of(page, "#table .sheet")["y"]
    assert box_of(page, "#table .scroll")["height"] == 10 * 34  # of the rows that there are
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#ask").scroll_into_view_if_needed()
    page.click("#ask")
    page.wait_for_function("""(() => {
      const { top, bottom } = document.querySelector('#inspect-notice').getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight;
    })()""")
    page.context.close()


def test_the_picture_is_that_of_the_row_however_quickly_one_walks(browser, url):
    page = opened(browser, url, viewport=DESK)
    to_tab(page, "Inspect")
    ask_many(page, 20)
    page.focus("#table .scroll")

    def shown_after(*keys) -> str:
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_timeout(1000)
        return page.get_attribute("#row-picture img", "src")

    slowly = [shown_after("Home"), *(shown_after("ArrowDown") for _ in range(8))]
    assert len(set(slowly)) > 4  # one picture has two questions now and then
    for steps in (8, 5, 2):
        assert shown_after("Home", *["ArrowDown"] * steps) == slowly[steps]
    page.context.close()


def test_a_picture_that_comes_late_is_not_shown_beside_another_row(browser, url, tmp_path):
    """The first takes the server long, the second next to nothing."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as pack:
        for name, size in (("large.jpg", (5_000, 4_000)), ("small.png", (96, 72))):
            random_picture(*size).save(tmp_path / name)
            pack.write(tmp_path / name, name)
        rows = [{"id": name, "image": name, "question": f"What is {name}?"} for name in ("large.jpg", "small.png")]
        pack.writestr("samples.jsonl", "\n".join(map(json.dumps, rows)))
    page = opened(browser, url, viewport=DESK)
    to_tab(page, "Inspect")
    page.set_input_files("#questions-file input[type=file]", str(tmp_path / "set.zip"))
    page.wait_for_selector("#questions-file .file-preview")
    page.click("#ask")
    page.wait_for_selector(".inspect[data-state=full]")
    page.focus("#table .scroll")
    width = "document.querySelector('#row-picture:not([data-waits]) img')?.naturalWidth"
    for key, shown in (("ArrowDown", 96), ("ArrowUp", 1_056), ("ArrowDown", 96)):
        page.keyboard.press(key)
        page.wait_for_function(f"{width} == {shown}")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(4_000)
    assert page.evaluate(width) == 96 and "small.png" in page.inner_text("#table .row-detail .place")
    page.context.close()


def test_easy_vqa_is_asked_and_its_pictures_are_seen(browser, url):
    pytest.importorskip("easy_vqa")
    page = opened(browser, url, viewport=DESK)
    to_tab(page, "Inspect")
    page.click("#source label:has-text('easy-VQA')")
    ask_many(page, 20)
    assert count(page) == "20 of 20 questions" and page.inner_text("#table .line .c-id").startswith("easy-")
    kinds = page.locator("#table .tools .kind option").all_inner_texts()
    assert set(kinds) == {"all", "color", "shape", "yes or no"}
    page.wait_for_selector("#row-picture img")
    page.wait_for_function("document.querySelector('#row-picture img').naturalWidth === 64")
    page.context.close()
