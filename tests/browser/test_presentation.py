"""Presentation: by keyboard alone, large enough for a room, and gone without a trace."""

from __future__ import annotations

import pytest

from tests.app.fake_engine import FakeEngine
from tests.app.serving import served
from tests.browser.conftest import BRIGHTNESS, PHONE, new_page, opened
from tests.browser.pages import run_after, run_with, to_layer

pytestmark = pytest.mark.browser

HALL = "#presenter .hall"
# What shows of the page, apart from the presentation; and where it was scrolled to and what has the focus.
PAGE = """() => [
  ...document.querySelectorAll('#answers, #scrubber .tools, #notice, #question textarea, #budget input[type=number]')]
  .map((node) => node.value ?? node.innerText)
  .concat([scrollY, document.activeElement.id || document.activeElement.className, innerWidth, innerHeight,
    document.fullscreenElement === null, document.querySelector('#presenter dialog').open])"""
# Of every text that shows in the presentation, the size as a share of the screen's height; but for the keys.
SIZES = """() => [...document.querySelectorAll('#presenter .words *')]
  .filter((node) => node.innerText && !node.children.length)
  .map((node) => parseFloat(getComputedStyle(node).fontSize) / innerHeight)"""
INSIDE = """() => [...document.querySelectorAll('#presenter .words > *, #presenter canvas')].every((node) => {
  const box = node.getBoundingClientRect();
  return box.left >= 0 && box.top >= 0 && box.right <= innerWidth + 1 && box.bottom <= innerHeight + 1;
})"""


SCREENS = pytest.mark.parametrize(("width", "height"), [(1440, 900), (1920, 1080)])


@pytest.fixture(scope="module")
def viewport():
    return {"width": 1440, "height": 900}


@pytest.fixture
def screen(page):
    page.evaluate("document.activeElement.blur()")
    yield page
    page.keyboard.press("Escape")


def entered(page) -> None:
    page.keyboard.press("f")
    page.wait_for_selector(f"{HALL}[open]")
    # What fills the screen could lie over it.
    page.wait_for_function("document.elementFromPoint(innerWidth / 2, innerHeight / 4).closest('.hall') !== null")


def layer(page) -> int:
    return int(page.inner_text(f"{HALL} .layer").split()[1])


def shows_layer(page, wanted: int) -> None:
    """Wait until a layer is shown: what a key or a click does may be painted a frame later."""
    script = (
        "([hall, wanted]) => document.querySelector(hall + ' .layer').innerText.split(/\\s+/)[1] === String(wanted)"
    )
    page.wait_for_function(script, arg=[HALL, wanted], timeout=5000)


@SCREENS
def test_it_shows_what_the_page_shows_large(screen, width, height):
    screen.set_viewport_size({"width": width, "height": height})
    shown = {name: screen.inner_text(name) for name in (".card[data-side=pruned] .answer", "#answers .hero .ratio b")}
    to_layer(screen, 5)
    count = screen.inner_text("#scrubber .count").split(" kept")[0]
    screen.evaluate("document.activeElement.blur()")
    entered(screen)
    assert screen.inner_text(f"{HALL} .question") == screen.input_value("#question textarea")
    assert screen.locator(f"{HALL} .who").all_inner_texts() == ["Original", "FitPrune 60 %"]
    assert screen.inner_text(f"{HALL} .answer[data-side=original] .text") == "a red car"
    assert screen.inner_text(f"{HALL} .answer[data-side=pruned] .text") == shown[".card[data-side=pruned] .answer"]
    assert screen.inner_text(f"{HALL} .ratio") == shown["#answers .hero .ratio b"]
    assert screen.inner_text(f"{HALL} .layer") == f"Layer 5 of 12: {count} kept"
    assert min(screen.evaluate(SIZES)) >= 0.035 and screen.evaluate(INSIDE)
    box = screen.locator(f"{HALL} canvas").bounding_box()
    assert min(box["width"], box["height"]) > 0.75 * height


def test_keys_go_through_layers_and_play(screen):
    entered(screen)
    last = layer(screen)
    screen.keyboard.press("ArrowLeft")
    shows_layer(screen, last - 1)
    screen.keyboard.press("ArrowUp")
    screen.keyboard.press("ArrowRight")
    shows_layer(screen, last - 1)
    before = screen.evaluate(BRIGHTNESS.replace("#scrubber .frame canvas", f"{HALL} canvas"))
    for _ in range(8):
        screen.keyboard.press("ArrowLeft")
    assert screen.evaluate(BRIGHTNESS.replace("#scrubber .frame canvas", f"{HALL} canvas")) != before
    screen.keyboard.press("Space")
    screen.wait_for_function(f"document.querySelector('{HALL} .layer').textContent.includes('Layer {last} of')")


def test_keys_go_through_examples(screen, engine):
    entered(screen)
    last = screen.locator(".picker button").count()
    for key, number in (("3", 3), ("n", 4), ("p", 3), ("PageUp", 2), ("PageDown", 3), ("1", 1), ("p", last), ("n", 1)):
        before = screen.evaluate("window.results")
        screen.keyboard.press(key)
        screen.wait_for_function("before => window.results > before", arg=before)
        screen.wait_for_function(f"document.querySelector('{HALL}').dataset.state === 'done'")
        assert f"example={number - 1}" in screen.evaluate("location.search")
        assert screen.inner_text(f"{HALL} .question") == engine.asked[-1][1]


@pytest.mark.parametrize("key", ["Escape", "f"])
def test_leaving_restores_the_page(screen, key):
    screen.focus("#scrubber .play")
    to_layer(screen, 7)
    screen.focus("#run")
    before = screen.evaluate(PAGE)
    entered(screen)
    screen.keyboard.press("ArrowLeft")
    screen.keyboard.press("ArrowLeft")
    screen.keyboard.press(key)
    screen.wait_for_selector(HALL, state="hidden")
    screen.wait_for_function("document.fullscreenElement === null")
    screen.wait_for_timeout(300)
    assert screen.evaluate(PAGE) == before
    screen.keyboard.press("ArrowLeft")  # the page's own keys work again
    screen.wait_for_selector(".scrubber[data-layer='6']")


def test_the_keys_are_told_and_a_pointer_finds_the_way_out(screen):
    entered(screen)
    assert screen.is_visible(f"{HALL} .keys")
    screen.click(f"{HALL} .leave")
    screen.wait_for_selector(HALL, state="hidden")


def test_the_button_is_reached_by_keyboard_and_gets_the_focus_back(screen):
    screen.focus("#history .opener")
    screen.keyboard.press("Tab")
    assert screen.evaluate("document.activeElement.textContent") == "Present"
    screen.keyboard.press("Enter")
    screen.wait_for_selector(f"{HALL}[open]")
    screen.keyboard.press("Escape")
    screen.wait_for_selector(HALL, state="hidden")
    screen.wait_for_function("document.activeElement.textContent === 'Present'")


def test_f_is_a_letter_where_one_types(screen):
    screen.focus("#question textarea")
    screen.keyboard.press("f")
    assert screen.is_hidden(HALL)


@pytest.mark.parametrize("name", ["Sweep", "Inspect", "Recipes", "About"])
def test_keys_of_compare_mean_nothing_on_another_page(screen, engine, name):
    to_layer(screen, 5)
    asked = len(engine.asked)
    screen.get_by_role("tab", name=name).click()
    screen.evaluate("document.activeElement.blur()")
    for key in ("f", "r", "ArrowRight", " "):
        screen.keyboard.press(key)
    screen.wait_for_timeout(300)
    assert screen.is_hidden(HALL) and len(engine.asked) == asked
    assert screen.get_attribute("#scrubber .scrubber", "data-layer") == "5"
    screen.get_by_role("tab", name="Compare").click()
    screen.wait_for_selector("#answers", state="visible")


def test_the_button_to_leave_shows_where_it_has_the_focus(screen):
    entered(screen)
    screen.evaluate("document.querySelector('#presenter .keys').classList.add('past')")
    for name in ("before", "next", "leave"):
        screen.keyboard.press("Tab")
        assert screen.evaluate("document.activeElement.className") == name
    screen.wait_for_function("getComputedStyle(document.querySelector('#presenter .keys')).opacity === '1'")


def test_it_is_there_without_the_right_to_fill_the_screen(screen):
    refuse = """() => { window.granted = Element.prototype.requestFullscreen;
      Element.prototype.requestFullscreen = () => Promise.reject(new TypeError('no')); }"""
    screen.evaluate(refuse)
    entered(screen)
    box = screen.locator(HALL).bounding_box()
    assert (box["x"], box["y"], box["width"], box["height"]) == (0, 0, *screen.viewport_size.values())
    screen.keyboard.press("Escape")
    screen.wait_for_selector(HALL, state="hidden")
    screen.evaluate("() => { Element.prototype.requestFullscreen = window.granted; }")
    assert screen.problems == []


def test_it_is_there_at_once_while_full_screen_begins_and_ends(screen):
    """What an earlier full screen leaves behind, a late grant or a late end, does not decide over the next one."""
    for _ in range(12):
        screen.keyboard.press("f")
        assert screen.is_visible(HALL)
        screen.keyboard.press("Escape")
        assert screen.is_hidden(HALL)
    entered(screen)
    screen.wait_for_timeout(1000)
    assert screen.is_visible(HALL)
    screen.keyboard.press("Escape")
    screen.wait_for_function("document.fullscreenElement === null")
    assert screen.is_hidden(HALL) and screen.problems == []


def test_it_is_there_where_the_browser_never_answers(screen):
    silent = """() => { window.granted = Element.prototype.requestFullscreen;
      Element.prototype.requestFullscreen = () => new Promise(() => {}); }"""
    screen.evaluate(silent)
    entered(screen)
    screen.keyboard.press("Escape")
    screen.wait_for_selector(HALL, state="hidden")
    screen.evaluate("() => { Element.prototype.requestFullscreen = window.granted; }")


def test_it_says_who_is_right_what_differs_what_the_whole_request_saves_and_which_model(screen):
    run_with(screen, ".picker button:nth-child(1)")  # a scene: what is true is known
    screen.evaluate("document.activeElement.blur()")
    entered(screen)
    assert screen.locator(f"{HALL} .mark").all_inner_texts() == ["✗ wrong", "✗ wrong"]
    assert screen.inner_text(f"{HALL} .truth") == screen.inner_text("#answers .truth") != ""
    assert [text.strip() for text in screen.locator(f"{HALL} .differs").all_inner_texts()] == ["red", "blue"]
    whole = screen.locator("#answers .hero .ratio b").nth(1).inner_text()
    assert screen.inner_text(f"{HALL} .whole") == f"{whole} FLOPs of the whole request"
    assert screen.inner_text(f"{HALL} .said") == "≠ Different answers"
    assert screen.inner_text(f"{HALL} .model") == "Answered by mini-llava"
    colours = screen.evaluate(f"[...document.querySelectorAll('{HALL} .text')].map((n) => getComputedStyle(n).color)")
    assert colours[0] == colours[1]


def test_it_says_what_hatched_means_and_that_times_are_being_measured(screen, engine):
    entered(screen)
    keys = screen.locator(f"{HALL} .key span")
    assert [text.strip() for text in keys.all_inner_texts()] == ["dropped earlier", "dropped here"]
    engine.measuring = 1.0
    try:
        screen.keyboard.press("r")
        screen.wait_for_function(f"document.querySelector('{HALL} .busy').textContent === 'Measuring…'")
        assert screen.inner_text(f"{HALL} .said") == "≠ Different answers"
    finally:
        engine.measuring = engine.delay
    screen.wait_for_function(f"document.querySelector('{HALL} .busy').textContent === ''")
    screen.keyboard.press("Escape")
    screen.wait_for_selector(HALL, state="hidden")


def test_the_keys_cover_nothing_of_the_picture(screen):
    entered(screen)
    keys, picture = screen.locator(f"{HALL} .keys").bounding_box(), screen.locator(f"{HALL} canvas").bounding_box()
    assert picture["y"] + picture["height"] <= keys["y"]
    screen.keyboard.press("Escape")
    screen.wait_for_selector(HALL, state="hidden")


def test_r_runs_and_a_click_on_a_half_goes_a_layer_back_or_on(screen, engine):
    entered(screen)
    asked = len(engine.asked)
    run_after(screen, lambda: screen.keyboard.press("r"))
    assert len(engine.asked) == asked + 1 and screen.is_visible(HALL)
    last = layer(screen)
    for x, wanted in ((300, last - 1), (300, last - 2), (1100, last - 1)):
        screen.mouse.click(x, 300)
        shows_layer(screen, wanted)


def test_examples_are_chosen_by_touch(screen):
    run_with(screen, ".picker button:nth-child(2)")
    screen.evaluate("document.activeElement.blur()")
    entered(screen)
    for name, number in (("next", 2), ("before", 1)):
        screen.mouse.move(200, 200)
        run_after(screen, lambda name=name: screen.click(f"{HALL} .{name}"))
        assert f"example={number}" in screen.evaluate("location.search")


@SCREENS
def test_long_answers_fit(screen, engine, width, height):
    screen.set_viewport_size({"width": width, "height": height})
    engine.delay, engine.answers = 0.0, ("a clock, a key, a red car, a blue bell and two umbrellas " * 3, "a clock")
    try:
        run_with(screen, "#run")
        screen.evaluate("document.activeElement.blur()")
        entered(screen)
        assert screen.evaluate(INSIDE) and min(screen.evaluate(SIZES)) >= 0.035
    finally:
        engine.delay, engine.answers = 0.05, ("a red car", "a blue car")


WORDS = (
    "a small red car stands beside a tall brown house under a grey sky with two birds while a man in a blue coat "
    "walks a dog along the street and a woman in a green hat waits near the old {} shop that sells bread"
)
# Of each part that must be in sight, whether it is whole on the screen, or in its answer, and no keys lie over it.
IN_SIGHT = """() => {
  const keys = document.querySelector('#presenter .keys').getBoundingClientRect();
  const parts = document.querySelectorAll('#presenter :is(.ratio, .layer, .truth, .differs)');
  return [...parts].map((node) => {
    const box = node.getBoundingClientRect(), around = (node.closest('.text') || node).getBoundingClientRect();
    const isCovered = box.right > keys.left && box.left < keys.right && box.bottom > keys.top;
    const isWhole = box.top >= Math.max(0, around.top - 1) && box.bottom <= Math.min(innerHeight, around.bottom + 1);
    return box.height > 0 && isWhole && !isCovered;
  });
}"""


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("options", [{"viewport": {"width": 1440, "height": 900}}, PHONE], ids=["desk", "phone"])
def test_figures_and_layer_stay_in_sight_of_long_answers(browser, url, engine, options, times):
    engine.delay = 0.0
    same = (WORDS.format("yellow") + " and ") * (times - 1)
    engine.answers = same + WORDS.format("pink"), same + WORDS.format("blue")
    try:
        screen = opened(browser, url, **options)
        run_with(screen, ".picker button:nth-child(1)")
        screen.click("#presenter .opener")
        screen.wait_for_selector(f"{HALL}[open]")
        screen.wait_for_timeout(200)
        seen = screen.evaluate(IN_SIGHT)
        assert len(seen) == 5 and all(seen)
        keys = screen.inner_text("#presenter .keys")
        assert ("Esc" in keys) == ("R: run" in keys) == (options is not PHONE)
        screen.context.close()
    finally:
        engine.delay, engine.answers = 0.05, ("a red car", "a blue car")


@pytest.mark.parametrize("options", [{}, PHONE], ids=["keys", "touch"])
def test_before_a_run_it_says_what_to_do_and_what_is_wrong(browser, options):
    engine = FakeEngine(("a red car", "a blue car"))
    engine.is_demo, engine.model_name = False, "a-large-one"
    with served(engine) as address:
        screen = new_page(browser, **options)
        screen.goto(address)
        screen.wait_for_selector(".board[data-state=idle]")
        screen.fill("#question textarea", " ")
        screen.click("#presenter .opener")
        screen.wait_for_selector(f"{HALL}[open]")
        assert ("tap Run" if options else "press R") in screen.inner_text(f"{HALL} .start")
        assert screen.is_hidden(f"{HALL} .answer[data-side=original]") and screen.is_hidden(f"{HALL} .ratio")

        def run():
            return screen.tap(f"{HALL} .go") if options else screen.keyboard.press("r")

        run()
        screen.wait_for_function(f"document.querySelector('{HALL} .wrong').textContent.includes('question is empty')")
        screen.click(f"{HALL} .leave")
        screen.wait_for_selector(HALL, state="hidden")
        screen.wait_for_function("document.fullscreenElement === null")
        screen.fill("#question textarea", "What is it?")
        screen.wait_for_timeout(300)
        screen.click("#presenter .opener")
        screen.wait_for_function("document.activeElement.closest('.hall') !== null")
        run_after(screen, run)
        screen.wait_for_selector(f"{HALL} .answer[data-side=original]", state="visible")
        assert screen.inner_text(f"{HALL} .wrong") == "" and screen.is_hidden(f"{HALL} .start")
        screen.context.close()
