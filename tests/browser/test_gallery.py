"""Comparisons that were made elsewhere, on the page: offered, opened without a run, gone through in a presentation."""

from __future__ import annotations

import pytest

from app.asking.scenes import load_examples
from tests.app.exhibits import MODEL, write_gallery
from tests.app.serving import served
from tests.browser.test_layout import CONTROLS, SIZES, SMALL_TEXTS, overlaps, sized

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    write_gallery(folder)
    with served(engine, gallery=folder) as address:
        yield address


def test_one_is_opened_without_a_run(page, engine):
    assert page.locator("#made-elsewhere .note").all_inner_texts() == [MODEL, "qwen2.5-vl-7b"]
    asked = len(engine.asked)
    page.click("#made-elsewhere button:nth-child(1)")
    page.wait_for_function("document.querySelector('#answers .sentence').textContent.startsWith('Made elsewhere, by')")
    assert page.inner_text(".card[data-side=pruned] .answer") == "a cat"
    assert page.input_value("#question textarea") == "What animal is it?"
    page.wait_for_timeout(500)
    assert len(engine.asked) == asked and page.get_attribute(".board", "data-stale") == "false"
    page.wait_for_function("document.querySelector('#history .opener').textContent === 'History (2)'")
    assert page.problems == []


def test_what_is_of_the_pages_own_model_is_not_said_of_anothers_result(page):
    whose = "document.querySelector('#preview .whose').textContent"
    assert page.evaluate(whose) == f"The result is of {MODEL}. A run here is of mini-llava:"
    assert "This was not answered here. Run" in page.inner_text(".lens .words")
    page.click("#run")
    page.wait_for_function("document.querySelector('#notice [role=alert]').textContent.includes('upload the picture')")
    page.click(".picker button:nth-child(1)")
    page.wait_for_function(f"{whose} === ''")
    page.wait_for_selector(".board[data-state=done]")
    page.click("#made-elsewhere button:nth-child(1)")
    page.wait_for_function(f"{whose} !== ''")


def test_a_presentation_goes_on_from_the_examples(page):
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    page.wait_for_selector("#presenter .hall[open]")
    examples = [example.question for example in load_examples()]
    shown = "(question) => document.querySelector('#presenter .question').textContent === question"
    examples = [example.question for example in load_examples()]
    for key, question in zip("9nnnnnn", (*examples[8:], "What animal is it?", "Who is there?"), strict=False):
        page.keyboard.press(key)
        page.wait_for_function(shown, arg=question)
    page.keyboard.press("p")
    page.wait_for_function(shown, arg="What animal is it?")
    page.keyboard.press("Escape")
    page.wait_for_selector("#presenter .hall", state="hidden")


@pytest.mark.parametrize("width", SIZES)
def test_nothing_overlaps_or_is_too_small(page, width):
    sized(page, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    controls = [each for each in page.evaluate(CONTROLS) if each[4] - each[2] > 2 and each[0][:11] != "The picture"]
    assert [(a[0], b[0]) for at, a in enumerate(controls) for b in controls[at + 1 :] if overlaps(a, b)] == []
    assert page.evaluate(SMALL_TEXTS) == []
