"""Chromium for the tests of the page: skipped without one, unless FITPRUNE_REQUIRE_BROWSER=1 makes that a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

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
LAPTOP, DESK = {"width": 1366, "height": 768}, {"width": 1440, "height": 900}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
PATIENCE = 120_000  # milliseconds; a busy machine is no failure


class NoBrowser(RuntimeError):
    """None of the browsers that are looked for is installed."""


@contextmanager
def launched() -> Iterator:
    """Playwright's browser, the first that is installed; raises NoBrowser without one, and ImportError."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise NoBrowser(f"none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def browser():
    pytest.importorskip("playwright.sync_api")
    try:
        with launched() as chromium:
            yield chromium
    except NoBrowser as error:
        reason = str(error)
        if os.environ.get("FITPRUNE_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def engine():
    return FakeEngine(("a red car", "a blue car"), delay=0.05)


@pytest.fixture(scope="session")
def url(engine):
    with served(engine) as address:
        yield address


def prepared(page):
    """A page that is patient, counts results in `window.results`, and has a list `page.problems` of its errors."""
    page.set_default_timeout(PATIENCE)
    page.add_init_script(COUNT_RESULTS)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    return page


def new_page(browser, viewport=LAPTOP, **options):
    """An empty page of a visitor of its own. options: of its context; `page.context.close()` ends both."""
    return prepared(browser.new_context(viewport=viewport, **options).new_page())


def arrived(page, url, theme="light"):
    """The page with the app on it, once its first result is there."""
    page.goto(f"{url}?__theme={theme}")
    page.wait_for_selector(".board[data-state=done]")
    return page


def opened(browser, url, theme="light", **options):
    """`new_page` with the app on it."""
    return arrived(new_page(browser, **options), url, theme)


@pytest.fixture(scope="module")
def viewport():
    """The window of `page`: a laptop's, unless a file has another."""
    return LAPTOP


@pytest.fixture(scope="module")
def page(browser, url, viewport):
    """The page with the first result on it."""
    page = opened(browser, url, viewport=viewport)
    page.wait_for_selector(".scrubber[data-state=full]")
    yield page
    page.context.close()
