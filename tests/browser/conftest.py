"""Chromium for the tests of the page: skipped without one, unless FITPRUNE_REQUIRE_BROWSER=1 makes that a failure."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.app.fake_engine import FakeEngine
from tests.app.serving import served

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
COUNT_RESULTS = """
window.results = 0;
window.addEventListener('fitprune:state', (event) => { window.results += event.detail === 'done'; });
"""


def per_patch(value: str) -> str:
    """A script that gives the mean of `value`, of pixel k of `pixels`, over each patch of the canvas, from where the
    page's own script says that the picture lies. An argument of the script is `given`.
    """
    return (
        """(given) => {
  const canvas = document.querySelector('#scrubber .frame canvas'), pen = canvas.getContext('2d');
  const side = Math.min(canvas.width, canvas.height), patch = side / 16;
  const left = (canvas.width - side) / 2, top = (canvas.height - side) / 2;
  return Array.from({ length: 256 }, (_, i) => {
    const x = left + (i % 16) * patch + 3, y = top + Math.floor(i / 16) * patch + 3;
    const pixels = pen.getImageData(x, y, patch - 6, patch - 6).data;
    let sum = 0;
    for (let k = 0; k < pixels.length; k++) if (k % 4 < 3) sum += """
        + value
        + """;
    return sum / (pixels.length / 4 * 3);
  });
}"""
    )


# Mean brightness of each patch.
BRIGHTNESS = per_patch("pixels[k]")
LAPTOP = {"width": 1366, "height": 768}
PATIENCE = 120_000  # milliseconds; a busy machine is no failure


@pytest.fixture(scope="session")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reason = f"none of {', '.join(BROWSERS)} is installed"
        if os.environ.get("FITPRUNE_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def engine():
    return FakeEngine(("a red car", "a blue car"), delay=0.05)


@pytest.fixture(scope="session")
def url(engine):
    with served(engine) as address:
        yield address


def new_page(browser, viewport=LAPTOP):
    """An empty page that is patient, and counts results in `window.results`."""
    page = browser.new_page(viewport=viewport)
    page.set_default_timeout(PATIENCE)
    page.add_init_script(COUNT_RESULTS)
    return page


@pytest.fixture(scope="module")
def viewport():
    """The window of `page`: a laptop's, unless a file has another."""
    return LAPTOP


@pytest.fixture(scope="module")
def page(browser, url, viewport):
    """The page with the first result on it; `page.problems` lists what the console complained about."""
    page = new_page(browser, viewport)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(url + "?__theme=light")
    page.wait_for_selector(".board[data-state=done]")
    page.wait_for_selector(".scrubber[data-state=full]")
    yield page
    page.close()
