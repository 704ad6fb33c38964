"""Light, dark, or as the system has it: by a button that the page remembers."""

from __future__ import annotations

import pytest

from tests.browser.conftest import new_page

pytestmark = pytest.mark.browser

BUTTON = "#masthead .colours"
# Every look of the page from the first time that the masthead is there: which colours it was drawn in.
LOOKS = """window.looks = new Set();
const look = () => {
  if (document.querySelector('#masthead')) window.looks.add(document.body.classList.contains('dark'));
  requestAnimationFrame(look);
};
requestAnimationFrame(look);"""


def is_dark(page) -> bool:
    return page.evaluate("document.body.classList.contains('dark')")


def test_the_button_goes_round_and_a_reload_never_shows_other_colours(browser, url):
    page = new_page(browser, color_scheme="light")
    page.add_init_script(LOOKS)
    page.goto(url)
    page.wait_for_selector(BUTTON)
    assert page.get_attribute(BUTTON, "aria-label") == "Colours: System" and not is_dark(page)
    seen = []
    for _ in range(2):
        page.focus(BUTTON)
        page.keyboard.press("Enter")
        seen.append((page.inner_text(BUTTON), is_dark(page)))
    assert seen == [("Light", False), ("Dark", True)]
    page.reload()
    page.wait_for_selector(BUTTON)
    assert page.inner_text(BUTTON) == "Dark" and page.evaluate("[...window.looks]") == [True]
    page.click(BUTTON)
    assert page.inner_text(BUTTON) == "System" and not is_dark(page)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.body.classList.contains('dark')")
    assert page.problems == []
    page.context.close()


def test_an_address_that_asks_for_colours_has_its_way_until_one_chooses(browser, url):
    page = new_page(browser, color_scheme="light")
    page.goto(f"{url}?__theme=dark")
    page.wait_for_selector(BUTTON)
    assert page.inner_text(BUTTON) == "Dark" and is_dark(page)
    page.click(BUTTON)
    assert "__theme" not in page.url and page.inner_text(BUTTON) == "System" and not is_dark(page)
    links = " ".join(page.locator("footer").all_inner_texts())
    assert "Use via API" in links and "Settings" not in links
    page.context.close()
