"""The page on phones, tablets, laptops and screens: nothing overlaps, is cut, too small, or out of reach."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import pytest
from PIL import Image

from tests.browser.conftest import BRIGHTNESS, arrived, new_page, per_patch
from tests.browser.pages import box_of, open_results, run_with, sweep_to_the_end, to_layer, to_tab, write_results

pytestmark = pytest.mark.browser

SIZES = {390: 844, 1024: 768, 1440: 900, 1920: 1080}

# Everything that can be pressed or typed into, and shows: [name, left, top, right, bottom]. A box to tick is pressed by
# its label, too; a link within a sentence has its lines; and what is in a box that scrolls may go beyond the page.
CONTROLS = """() => [...document.querySelectorAll(
    'button, a, input, select, textarea, canvas[tabindex], .layer, .count')]
  .filter((node) => node.getClientRects().length && node.checkVisibility({ visibilityProperty: true }))
  .filter((node) => !node.closest('.visually-hidden, [aria-hidden=true]') && node.type !== 'file')
  .map((node) => {
    const box = ((node.type === 'checkbox' && node.closest('label')) || node).getBoundingClientRect();
    const name = node.getAttribute('aria-label') || node.textContent.trim() || node.id;
    return [name, box.left, box.top + scrollY, box.right, box.bottom + scrollY];
  })"""

LINKS_IN_SENTENCES = """() => [...document.querySelectorAll(':is(p, li, td, dd) a')]
  .map((link) => link.textContent.trim())"""
SCROLLED = """() => [...document.querySelectorAll('*')]
  .filter((box) => box.scrollWidth > box.clientWidth + 1)
  .filter((box) => ['auto', 'scroll'].includes(getComputedStyle(box).overflowX))
  .flatMap((box) => [...box.querySelectorAll('button, a, input')])
  .map((node) => node.getAttribute('aria-label') || node.textContent.trim() || node.id)"""

SMALL_TEXTS = """() => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walk.nextNode()) {
    const text = walk.currentNode.data.trim(), node = walk.currentNode.parentElement;
    const shows = node.getClientRects().length && !['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(node.tagName);
    const size = parseFloat(getComputedStyle(node).fontSize); // of 0: words of Gradio's in whose place others stand
    if (text && shows && size && size <= 12) found.push(text);
  }
  return found;
}"""

# Parts of the columns that moved without anybody's doing, by their ids.
SHIFTS = """window.shifts = [];
new PerformanceObserver((list) => list.getEntries().forEach(({ hadRecentInput, sources }) => {
  if (hadRecentInput) return;
  for (const { node, previousRect, currentRect } of sources) {
    const part = node && node.parentElement && node.parentElement.closest('#columns');
    if (part && Math.abs(previousRect.y - currentRect.y) > 20) window.shifts.push(node.id || node.className);
  }
})).observe({ type: 'layout-shift', buffered: true });"""

OUTLINE = """() => {
  const style = getComputedStyle(document.activeElement);
  return [document.activeElement.tagName, style.outlineStyle, parseFloat(style.outlineWidth)];
}"""


def rows_in_inspect(page, tmp_path) -> None:
    open_results(page, write_results(tmp_path / "answers.csv", (f"Question {number}?" for number in range(60))))


# What is done on each page first, and how many controls it has at least.
OTHER_PAGES = {
    "Sweep": (lambda page, _: sweep_to_the_end(page), 20),
    "Inspect": (rows_in_inspect, 30),
    "Recipes": (lambda page, _: page.wait_for_selector("#curves .step"), 20),
    "About": (lambda page, _: page.wait_for_timeout(300), 5),
}


def sized(page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": SIZES[width]})
    page.wait_for_timeout(400)


def overlaps(a, b) -> bool:
    return min(a[3], b[3]) - max(a[1], b[1]) > 1 and min(a[4], b[4]) - max(a[2], b[2]) > 1


def check_controls(page, width: int, at_least: int) -> None:
    """Controls of the page that is shown neither overlap nor leave it, and none, nor any text, is too small."""
    sized(page, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    controls = [control for control in page.evaluate(CONTROLS) if control[4] - control[2] > 2]  # Gradio measures tabs
    assert len(controls) >= at_least
    links, scrolled = set(page.evaluate(LINKS_IN_SENTENCES)), set(page.evaluate(SCROLLED))
    tools = [each for each in controls if not each[0].startswith("The picture") and each[0] not in links]
    pairs = [(a[0], b[0]) for at, a in enumerate(tools) for b in tools[at + 1 :] if overlaps(a, b)]
    assert pairs == []
    pressed = [each for each in controls if each[0] not in page.locator(".layer, .count").all_inner_texts()]
    sizes = {name: (right - left, bottom - top) for name, left, top, right, bottom in pressed if name not in links}
    assert {name: size for name, size in sizes.items() if min(size) < 24} == {}
    beyond = [name for name, left, _, right, _ in controls if left < 0 or right > width]
    assert [name for name in beyond if name not in scrolled] == []
    assert page.evaluate(SMALL_TEXTS) == []


@pytest.mark.parametrize("width", SIZES)
def test_controls_neither_overlap_nor_leave_the_page_nor_are_too_small(page, width):
    check_controls(page, width, 31)


@pytest.mark.parametrize("name", OTHER_PAGES)
def test_nor_do_those_of_the_other_pages(page, tmp_path, name):
    begin, at_least = OTHER_PAGES[name]
    sized(page, 1440)
    to_tab(page, name)
    begin(page, tmp_path)
    try:
        for width in SIZES:
            check_controls(page, width, at_least)
    finally:
        sized(page, 1440)
        to_tab(page, "Compare")


def test_the_tools_stand_above_the_rule_of_the_tabs_on_one_line(page):
    sized(page, 1440)
    rule = page.locator("#pages > .tab-wrapper").bounding_box()
    tools = page.locator("#exports > button, #exports .opener")
    boxes = [tools.nth(at).bounding_box() for at in range(tools.count())]
    assert len(boxes) == 4 and len({(box["y"], box["height"]) for box in boxes}) == 1
    assert boxes[0]["y"] + boxes[0]["height"] < rule["y"] + rule["height"] - 2
    assert len(set(tools.evaluate_all("(all) => all.map((node) => getComputedStyle(node).lineHeight)"))) == 1


def test_the_picture_grows_with_the_window_and_the_page_fills_it(page):
    sides = {}
    for width in (1024, 1440, 1920):
        sized(page, width)
        box = page.locator("#scrubber .frame").bounding_box()
        sides[width] = min(box["width"], box["height"])
        columns = page.locator("#columns").bounding_box()
        assert columns["width"] > 0.95 * width
    assert sides[1024] > 286 and sides[1440] > 310 and sides[1920] >= 490
    widths = page.evaluate(
        "[...document.querySelectorAll('#scrubber .frame, #scrubber .side')].map(n => n.offsetWidth)"
    )
    assert widths[0] >= 550


@pytest.mark.parametrize("width", [1440, 1920])
def test_a_screen_shows_the_whole_page(page, width):
    sized(page, width)
    assert page.evaluate("document.documentElement.scrollHeight") <= SIZES[width]


def test_what_is_drawn_of_a_layer_moves_nothing(page):
    sized(page, 1440)
    page.wait_for_selector("button[data-mode=paint]:not([hidden])")
    places = {}
    for mode in ("patches", "heat", "looks", "paint"):
        page.click(f"button[data-mode={mode}]")
        parts = [box_of(page, f"#scrubber {part}") for part in (".frame", ".strip", ".charts")]
        places[mode] = [*parts, page.evaluate("document.documentElement.scrollHeight")]
    page.click("button[data-mode=patches]")
    assert all(place == places["patches"] for place in places.values()), places


def test_the_strip_of_layers_is_one_stop_whose_arrows_go_on(page):
    sized(page, 1440)
    to_layer(page, 5)
    strip = page.locator("#scrubber .strip button")
    assert strip.evaluate_all("(all) => all.filter((node) => node.tabIndex >= 0).map((node) => node.textContent)") == [
        "5"
    ]
    strip.nth(4).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".scrubber[data-layer='7']")
    assert page.evaluate("document.activeElement.textContent") == "7"


def test_tools_come_before_the_columns_and_on_a_phone_after_the_answers_on_one_line(page):
    sized(page, 1440)
    page.focus("#presenter .opener")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#controls') !== null")
    sized(page, 390)
    tools = [box_of(page, f"#exports {tool}") for tool in ("#opened", "#saver", "#history", "#presenter")]
    answers, next_part = box_of(page, "#answers"), box_of(page, "#sides")
    assert {tool["y"] for tool in tools} == {tools[0]["y"]}
    assert answers["y"] + answers["height"] <= tools[0]["y"] < next_part["y"]
    sized(page, 1440)


def test_on_a_phone_what_is_going_on_is_said_beside_run(page):
    sized(page, 390)
    run, notice = box_of(page, "#run"), box_of(page, "#notice")
    assert 0 <= notice["y"] - run["y"] - run["height"] < 16
    sized(page, 1440)


def test_nothing_jumps_while_the_page_loads(browser, url):
    page = new_page(browser, {"width": 390, "height": 844})
    page.add_init_script(SHIFTS)
    arrived(page, url)
    page.wait_for_timeout(1000)
    assert page.evaluate("window.shifts") == []
    page.context.close()


def test_the_field_of_the_question_shows_its_edge_and_its_ring(page):
    sized(page, 1440)
    assert page.evaluate("getComputedStyle(document.querySelector('#question')).overflow") == "visible"
    edge = page.evaluate("getComputedStyle(document.querySelector('#question textarea')).borderTopColor")
    assert contrast(edge, (255, 255, 255)) >= 3


def contrast(color: str, other: tuple[int, ...]) -> float:
    """WCAG's contrast of "rgb(...)" and another colour."""

    def luminance(rgb) -> float:
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (each / 255 for each in rgb)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(map(int, re.findall(r"\d+", color)[:3])), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_on_a_phone_the_answer_is_in_sight_of_the_example_that_was_tapped(page):
    sized(page, 390)
    example = page.locator(".picker button:nth-child(2)")
    example.scroll_into_view_if_needed()
    run_with(page, ".picker button:nth-child(2)")
    seen = page.evaluate("""() => ['.picker button:nth-child(2)', '.card[data-side=pruned] .answer'].map((name) => {
      const box = document.querySelector(name).getBoundingClientRect();
      return box.top >= 0 && box.bottom <= innerHeight;
    })""")
    assert seen == [True, True]
    whole = (
        "(name) => { const node = document.querySelector(name); return node.scrollHeight <= node.clientHeight + 1; }"
    )
    page.evaluate(
        "document.querySelector('#answers .truth').textContent = 'Both are right: it is “a brown cloud”. '.repeat(4)"
    )
    page.evaluate("document.querySelector('.sentence').textContent = 'No time was gained at all, and more. '.repeat(5)")
    assert page.evaluate(whole, "#answers .truth") and page.evaluate(whole, ".board .sentence")
    bars = page.evaluate("[...document.querySelectorAll('#answers .bar > div')].map(bar => bar.offsetWidth)")
    assert min(bars) >= 60
    order = page.evaluate("""['#question', '#budget-card', '#run', '#answers', '#scrubber'].map(
      (name) => document.querySelector(name).getBoundingClientRect().top)""")
    assert order == sorted(order)


def test_what_has_the_focus_shows(page):
    sized(page, 1440)
    page.focus("#question textarea")
    seen = set()
    page.keyboard.press("Shift+Tab")
    for _ in range(14):
        page.keyboard.press("Tab")
        tag, style, width = page.evaluate(OUTLINE)
        seen.add(tag)
        assert style == "auto" or (style != "none" and width >= 1.5), (tag, style, width)
    assert {"TEXTAREA", "INPUT", "BUTTON"} <= seen
    page.focus("#scrubber .frame canvas")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(OUTLINE)[1] != "none"


def test_patches_are_reached_by_keyboard_and_layers_keep_their_keys(page):
    to_layer(page, 6)
    page.focus("#scrubber .frame canvas")
    page.keyboard.press("Escape")  # nothing is marked
    told = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        told.append(page.inner_text("#scrubber .detail").split(":")[0])
    assert told == [
        "Row 1, column 1", "Row 1, column 2", "Row 2, column 2", "Row 2, column 1", "Row 1, column 1",
    ]  # fmt: skip
    assert page.get_attribute(".scrubber", "data-layer") == "6"
    page.keyboard.press("Escape")
    hint = "Point at a patch, tap it, or reach it with arrows, to see where it went."
    assert page.inner_text("#scrubber .how") == hint
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".scrubber[data-layer='7']")


def test_playing_changes_the_heat_map(page):
    page.click("button[data-mode=heat]")
    seen = []
    for layer in (1, 6, 12):
        to_layer(page, layer)
        seen.append(page.evaluate(BRIGHTNESS))
    page.click("button[data-mode=patches]")
    changed = [[abs(a - b) > 3 for a, b in zip(*two, strict=True)] for two in pairwise(seen)]
    assert min(map(sum, changed)) > 10


# For each patch of a picture of one colour, how far its pixels are from that colour.
DISTANCE = per_patch("Math.abs(pixels[k] - given)")


@pytest.mark.parametrize("grey", [0, 32, 64, 90, 110, 160, 255])
def test_dropped_patches_differ_from_kept_ones_on_any_picture(page, grey):
    buffer = io.BytesIO()
    Image.new("RGB", (320, 320), (grey, grey, grey)).save(buffer, "PNG")
    files = [{"name": f"{grey}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}]
    shown = page.get_attribute("#picture img", "src")
    page.set_input_files("#picture input[type=file]", files=files)
    page.wait_for_function(
        "shown => (document.querySelector('#picture img') ?? { src: shown }).src !== shown", arg=shown
    )
    run_with(page, "#run")
    page.wait_for_timeout(500)
    to_layer(page, 12)
    values = sorted(page.evaluate(DISTANCE, grey))
    kept = int(page.inner_text("#scrubber .count").split(" ")[0])
    assert max(values[:kept]) < 4 and min(values[kept:]) > 14, (values[:kept][-3:], values[kept:][:3])


@pytest.fixture(scope="module")
def viewport():
    return {"width": 1440, "height": 900}
