"""Every page by keyboard alone: each control is reached by Tab, shows that it has the focus, and does its work."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.browser.conftest import opened
from tests.browser.pages import MENU, open_recipes, open_results, sweep_to_the_end, to_tab
from tests.browser.test_accessibility import results  # noqa: F401
from tests.browser.test_layout import SIZES

pytestmark = pytest.mark.browser

# What can be pressed, typed into or moved, shows, and is not disabled; a radio button stands for its group. Each gets a
# number by which it is known again.
CONTROLS = """() => {
  const groups = new Set(), found = [];
  const all = document.querySelectorAll(
    'a[href], button, input, select, textarea, summary, [tabindex], [contenteditable=true]');
  for (const node of all) {
    const style = getComputedStyle(node), box = node.getBoundingClientRect();
    if (node.disabled || node.tabIndex < 0 || !node.checkVisibility() || style.visibility === 'hidden') continue;
    if (node.closest('.visually-hidden, [aria-hidden=true], [inert]') || box.width < 2) continue;
    if (node.type === 'radio') { if (groups.has(node.name)) continue; groups.add(node.name); }
    node.dataset.control ??= String(document.querySelectorAll('[data-control]').length);
    found.push([node.dataset.control, name(node)]);
  }
  function name(node) {
    const said = node.getAttribute('aria-label') || node.textContent.trim().slice(0, 30) || node.title;
    return `${node.tagName.toLowerCase()} ${said || node.id || node.closest('[id]')?.id} ${node.type ?? ''}`;
  }
  return found;
}"""
# The control that has the focus, and how it looks; of an input without a look of its own that around it.
FOCUSED = """() => {
  const node = document.activeElement;
  if (!node || node === document.body) return [null, '', true];
  const look = (each) => {
    const { outlineStyle, outlineWidth, outlineColor, boxShadow, borderColor } = getComputedStyle(each);
    const outline = outlineStyle === 'none' ? '' : [outlineStyle, outlineWidth, outlineColor].join(' ');
    return [outline, boxShadow, borderColor].join(' ');
  };
  const around = [node, node.parentElement, node.parentElement?.parentElement, node.nextElementSibling].filter(Boolean);
  const focused = around.map(look);
  node.blur();
  const plain = around.map(look);
  node.focus({ focusVisible: true, preventScroll: true });
  const known = node.dataset.control ?? node.tagName + ' ' + node.className;
  return [known, node.tagName, focused.some((each, at) => each !== plain[at])];
}"""


def open_page(browser, url, width=1440):
    page = opened(browser, url, viewport={"width": width, "height": SIZES[width]})
    page.wait_for_selector(".scrubber[data-state=full]")
    return page


def compare(page, table):
    page.click(".sides summary")


def sweep(page, table):
    to_tab(page, "Sweep")
    sweep_to_the_end(page)


def inspect(page, table):
    to_tab(page, "Inspect")
    open_results(page, table)


def recipes(page, table):
    open_recipes(page)


def about(page, table):
    to_tab(page, "About")


PAGES = (compare, sweep, inspect, recipes, about)


@pytest.mark.parametrize("width", [1440, pytest.param(390, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", PAGES, ids=lambda page: page.__name__)
def test_every_control_is_reached_and_shows_it(browser, url, results, what, width):  # noqa: F811
    page = open_page(browser, url, width)
    try:
        what(page, results)
        page.wait_for_timeout(500)
        controls = dict(page.evaluate(CONTROLS))
        assert len(controls) > 6
        page.evaluate("document.activeElement.blur(); document.body.tabIndex = -1; document.body.focus()")
        reached, unseen = [], []
        for _ in range(3 * len(controls)):
            page.keyboard.press("Tab")
            known, _, shows = page.evaluate(FOCUSED)
            if known is None or known in reached:
                break
            reached.append(known)
            if not shows:
                unseen.append(controls.get(known, known))
    finally:
        page.context.close()
    assert [name for known, name in controls.items() if known not in reached] == []
    assert unseen == []


@pytest.fixture
def keys(browser, url):
    """A page that tests touch by keys alone."""
    page = open_page(browser, url)
    yield page
    page.context.close()


def reach(page, selector: str, most: int = 120) -> None:
    """Press Tab until what the selector names has the focus."""
    for _ in range(most):
        if page.evaluate("(selector) => document.activeElement?.matches(selector) ?? false", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"no focus on {selector} in {most} presses of Tab")


def press(page, selector: str, key: str = "Enter") -> None:
    reach(page, selector)
    page.keyboard.press(key)


def choose_file(page, selector: str, path) -> None:
    with page.expect_file_chooser() as waiting:
        press(page, selector)
    waiting.value.set_files(str(path))


def asks(page, engine, act) -> tuple:
    """What the engine is asked next."""
    asked = len(engine.asked)
    act()
    while len(engine.asked) == asked:
        page.wait_for_timeout(50)
    page.wait_for_selector(".board[data-state=done]")
    return engine.asked[-1]


def test_a_comparison_is_asked_for_and_looked_through(keys, engine):
    reach(keys, "#question textarea")
    keys.keyboard.press("Control+a")
    keys.keyboard.type("Is it here?")
    assert asks(keys, engine, lambda: keys.keyboard.press("Enter"))[1] == "Is it here?"
    press(keys, "#budget input[type=range]", "ArrowRight")
    assert asks(keys, engine, lambda: press(keys, "#run"))[2] == 61
    size = keys.evaluate("document.querySelector('.picker button:nth-child(2)').title")
    assert size and asks(keys, engine, lambda: press(keys, ".picker button:nth-child(2)"))[1] != "Is it here?"
    reach(keys, "#scrubber input[type=range]")
    layer = int(keys.get_attribute(".scrubber", "data-layer"))
    keys.keyboard.press("ArrowLeft")
    keys.wait_for_selector(f".scrubber[data-layer='{layer - 1}']")
    press(keys, "#scrubber button[data-mode=heat]")
    keys.wait_for_selector("#scrubber button[data-mode=heat][aria-pressed=true]")


def test_a_picture_is_given(keys, engine, tmp_path):
    Image.new("RGB", (123, 45), "teal").save(tmp_path / "own.png")
    press(keys, "#picture button[aria-label*=Clear i], #picture button[aria-label*=Remove i]")
    keys.wait_for_function("!document.querySelector('#picture img')")
    choose_file(keys, "#picture button", tmp_path / "own.png")
    keys.wait_for_selector("#picture img")
    keys.wait_for_timeout(500)
    assert asks(keys, engine, lambda: press(keys, "#run"))[0] == (123, 45)


def test_a_sweep_is_run_and_a_cell_opened(keys, engine):
    press(keys, "button[role=tab]:nth-of-type(2)")
    keys.wait_for_selector("#sweep", state="visible")
    press(keys, "#sweep-methods label:nth-of-type(2) input", "Space")
    assert keys.locator("#sweep-methods input:checked").count() == 1
    press(keys, "#sweep")
    keys.wait_for_function("document.querySelector('#grid .status').textContent.startsWith('All')")
    assert keys.locator("#grid tbody tr").count() == 1
    asks(keys, engine, lambda: press(keys, "#grid tbody button"))
    assert keys.locator("#answers").is_visible()


def test_results_are_opened_filtered_walked_through_and_exported(keys, results):  # noqa: F811
    press(keys, "button[role=tab]:nth-of-type(3)")
    choose_file(keys, "#results-file button", results)
    keys.wait_for_selector(".inspect[data-state=full]")
    press(keys, "#table [data-show=lost]")
    keys.wait_for_function("document.querySelector('#table .count').textContent.includes(' of 60')")
    with keys.expect_download():
        press(keys, "#table [data-export=csv]")
    reach(keys, "#table .scroll")
    keys.keyboard.press("ArrowDown")
    first = keys.inner_text("#table .row-detail .question")
    keys.keyboard.press("ArrowDown")
    assert keys.inner_text("#table .row-detail .question") != first
    reach(keys, "#table .tags")
    keys.keyboard.type("odd")
    reach(keys, "#table .note")
    assert keys.input_value("#table .tags") == "odd"


def test_curves_are_drawn_and_saved(keys):
    press(keys, "button[role=tab]:nth-of-type(4)")
    keys.wait_for_selector("#curves .step")
    drawn = keys.locator("#curves .step").count()
    press(keys, "#curves input:checked", "Space")
    assert keys.locator("#curves .step").count() == drawn - 1
    with keys.expect_download():
        press(keys, "#curves tbody button")


def test_on_a_phone_pages_in_the_menu_are_reached(browser, url):
    page = open_page(browser, url, 390)
    try:
        press(page, MENU)
        press(page, ".overflow-dropdown button:last-of-type")
        page.wait_for_selector(".guide", state="visible")
    finally:
        page.context.close()


def test_a_control_whose_focus_does_not_show_is_found(keys):
    """What the test of all controls looks at tells a focus that shows from one that does not."""
    reach(keys, "#run")
    assert keys.evaluate(FOCUSED)[2]
    keys.evaluate("""() => {
      for (const [name, value] of [['outline', 'none'], ['box-shadow', 'none'], ['border-color', 'red']]) {
        document.querySelector('#run').style.setProperty(name, value, 'important');
      }
    }""")
    keys.wait_for_timeout(500)  # what changes gently
    assert not keys.evaluate(FOCUSED)[2]
