"""What tests of several pages do to them, as a visitor would, and what they give them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from tests.app.fake_engine import RESULTS

MENU = ".overflow-menu > button"


def to_layer(page, layer: int) -> None:
    page.click(f"#scrubber .strip button:nth-child({layer})")
    page.wait_for_selector(f".scrubber[data-layer='{layer}']")


def run_with(page, selector: str) -> None:
    run_after(page, lambda: page.click(selector))


def run_after(page, begin) -> None:
    """Do what begins a run, and wait for its result; counted, because a quick run may be over before one looks."""
    before = page.evaluate("window.results")
    begin()
    page.wait_for_function("before => window.results > before", arg=before)


def age(page, text: str) -> None:
    """Wait until the page says so, or nothing, of the result's age."""
    page.wait_for_function("text => document.querySelector('.age').textContent.includes(text)", arg=text)
    assert (page.get_attribute(".board", "data-stale") == "true") == bool(text)
    assert page.evaluate("document.querySelector('.scrubber').classList.contains('stale')") == bool(text)


def white_picture() -> dict:
    buffer = io.BytesIO()
    Image.new("RGB", (320, 320), "white").save(buffer, "PNG")
    return {"name": "white.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def upload(page, path) -> None:
    """Put a file into the picture's place, and wait until the page shows it."""
    shown = page.get_attribute("#picture img", "src")
    page.set_input_files("#picture input[type=file]", files=[str(path)])
    page.wait_for_function(
        "shown => (document.querySelector('#picture img') ?? { src: shown }).src !== shown", arg=shown
    )


def to_tab(page, name: str) -> None:
    """Go to a page; on a phone some are in a menu."""
    tab = page.locator(f"button[role=tab]:has-text('{name}')")
    if tab.count():
        tab.click()
    else:
        page.click(MENU)
        page.click(f".overflow-dropdown button:has-text('{name}')")


def open_results(page, results) -> None:
    """Open a table of answers in Inspect, which is shown already."""
    page.set_input_files("#results-file input[type=file]", str(results))
    page.wait_for_selector(".inspect[data-state=full]")


def ask_many(page, count: int) -> None:
    """Have so many questions asked in Inspect, which is shown already, and wait for their table."""
    page.fill("#how-many input[type=number]", str(count))
    page.keyboard.press("Tab")
    page.click("#ask")
    page.wait_for_selector(".inspect[data-state=full]")


def open_recipes(page) -> None:
    to_tab(page, "Recipes")
    page.wait_for_selector("#curves .step")


def sweep_to_the_end(page) -> None:
    page.click("#sweep")
    page.wait_for_function("document.querySelector('#grid .status').textContent.startsWith('All')")


def margin_of(number: int) -> float:
    """How sure the pruned answer to a question of `write_results` is."""
    return number * 37 % 1000 / 1000


def write_results(path: Path, questions: Iterable[str]) -> Path:
    """A table of answers: every fifth question is lost, every seventh won, and every third is to read something."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*RESULTS, "margin"])
        for number, question in enumerate(questions):
            about = ["a key", "color" if number % 3 else "read", question, "", "some-model"]
            first = "a dog" if number % 7 == 0 else "a key"
            second = "a cat" if number % 5 == 0 else "a key"
            margins = (0.99, margin_of(number))
            sides = ((0, "original", first, 2.0), (0.6, "fitprune", second, 0.8))
            for (reduction, method, answer, flops), margin in zip(sides, margins, strict=True):
                writer.writerow([number, reduction, method, answer, int(answer == "a key"), flops, *about, margin])
    return path


def count(inspect) -> str:
    return inspect.inner_text("#table .count")


def box_of(page, selector: str) -> dict:
    return page.locator(selector).bounding_box()
