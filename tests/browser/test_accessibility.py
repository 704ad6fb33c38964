"""axe-core over every page and state, at four widths, light and dark: no violation of any of its rules."""

from __future__ import annotations

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from tests.app.exhibits import write_gallery
from tests.app.fake_engine import FakeEngine
from tests.app.serving import served
from tests.browser.conftest import new_page
from tests.browser.pages import MENU, open_recipes, open_results, sweep_to_the_end, to_tab, write_results
from tests.browser.test_layout import SIZES

pytestmark = pytest.mark.browser

# Each rule that axe-core has, best practices among them; the nodes that break one, and what axe says of the first.
RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ['violations'] });
  return violations.map(({ id, nodes }) => [
    id, nodes.map(({ target }) => target.join(' ')).slice(0, 8), nodes[0].failureSummary, nodes[0].html.slice(0, 300),
  ]);
}"""
QUICK = {(390, "dark"), (1440, "light")}
WAYS = [
    pytest.param(width, theme, marks=() if (width, theme) in QUICK else pytest.mark.slow)
    for width in SIZES
    for theme in ("light", "dark")
]


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """A server whose model is not the embedded one: it runs nothing before it is asked. It has a gallery."""

    class Other(FakeEngine):
        model_name, is_demo = "llava-1.5-7b-hf", False

    gallery = tmp_path_factory.mktemp("gallery")
    write_gallery(gallery)
    with served(Other(("a red car", "a blue car")), gallery=gallery) as address:
        yield address


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A table with rows of every kind: kept, lost, won, changed."""
    path = tmp_path_factory.mktemp("results") / "answers.csv"
    return write_results(path, (f"Question {number}?" for number in range(60)))


def compare_idle(page, results):
    page.wait_for_selector(".board[data-state=idle]")


def compare_done(page, results):
    page.click("#run")
    page.wait_for_selector(".board[data-state=done]")
    page.wait_for_selector(".scrubber[data-state=full]")


def compare_heat(page, results):
    page.click("button[data-mode=heat]")


def compare_looked_at(page, results):
    page.click(".card[data-side=pruned] .piece >> nth=0")
    page.wait_for_selector(".scrubber[data-mode=looks]")


def compare_painted(page, results):
    page.click("button[data-mode=paint]")
    page.focus("#scrubber .frame canvas")
    for key in ("ArrowRight", " "):
        page.keyboard.press(key)
    page.wait_for_selector(".painting .rerun:enabled")


def compare_old(page, results):
    page.fill("#question textarea", "Is this another question?")
    page.wait_for_timeout(700)


def compare_error(page, results):
    page.fill("#question textarea", "")
    page.click("#run")
    page.wait_for_function("document.querySelector('#notice').textContent.includes('question is empty')")
    page.fill("#question textarea", "What is it?")


def compare_sides(page, results):
    page.click(".sides summary")
    page.wait_for_selector("#fp-left-method", state="visible")


def compare_save(page, results):
    page.click(".saver .opener")
    page.wait_for_selector("#fp-save-items", state="visible")


def compare_presented(page, results):
    page.keyboard.press("Escape")
    page.click("button:has-text('Present')")
    page.wait_for_selector("dialog.hall[open]")


def compare_elsewhere(page, results):
    page.keyboard.press("Escape")
    page.click("#made-elsewhere button:nth-child(1)")
    page.wait_for_function("document.querySelector('#notice').textContent.includes('Made elsewhere')")


def compare_history(page, results):
    page.click("#history .opener")
    page.wait_for_selector("#history dialog[open]")
    page.click("#history li:nth-child(2) .pin")


def compare_beside(page, results):
    for number in (1, 2):
        page.check(f"#history li:nth-child({number}) input[type=checkbox]")
    page.click("#history .both")
    page.wait_for_selector("#history .two article:nth-child(2)")


def sweep_idle(page, results):
    page.keyboard.press("Escape")
    page.click(".picker button:nth-child(1)")  # what was made elsewhere came without a picture to ask about
    page.wait_for_selector("#picture img")
    to_tab(page, "Sweep")
    page.wait_for_selector("#sweep", state="visible")


def sweep_done(page, results):
    sweep_to_the_end(page)


def inspect_idle(page, results):
    to_tab(page, "Inspect")
    page.wait_for_selector("#ask", state="visible")


def inspect_rows(page, results):
    open_results(page, results)


def recipes(page, results):
    open_recipes(page)


def about(page, results):
    to_tab(page, "About")
    page.wait_for_timeout(300)


def menu(page, results):
    if page.locator(MENU).is_visible():
        page.click(MENU)
        page.wait_for_selector(".overflow-dropdown button")


STATES = (
    compare_idle, compare_done, compare_heat, compare_looked_at, compare_painted, compare_old, compare_error,
    compare_sides, compare_save, compare_presented, compare_elsewhere, compare_history, compare_beside,
    sweep_idle, sweep_done, inspect_idle, inspect_rows, recipes, about, menu,
)  # fmt: skip


@pytest.mark.parametrize(("width", "theme"), WAYS)
def test_no_page_breaks_a_rule(browser, waiting, results, width, theme):
    page = new_page(browser, {"width": width, "height": SIZES[width]})
    broken = {}
    try:
        page.goto(f"{waiting}?__theme={theme}")
        page.evaluate(AXE_SCRIPT)
        for state in STATES:
            state(page, results)
            page.wait_for_timeout(300)  # what fades in
            if found := page.evaluate(RUN):
                broken[state.__name__] = found
    finally:
        page.context.close()
    assert broken == {}


def test_a_broken_rule_is_found(browser, waiting):
    page = new_page(browser)
    page.goto(f"{waiting}?__theme=light")
    compare_idle(page, None)
    page.evaluate(AXE_SCRIPT)
    pale = '<p style="color: #999">pale</p>'
    page.evaluate("(pale) => document.querySelector('#notice').insertAdjacentHTML('beforeend', pale)", pale)
    broken = [rule for rule, *_ in page.evaluate(RUN)]
    page.context.close()
    assert broken == ["color-contrast"]
