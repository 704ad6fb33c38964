"""Pictures of every page for README and guide: `python -m tests.browser.screenshots [--out assets/pages]`.

Starts the app on mini-llava with its examples, opens each page in Chromium as a visitor would, and saves what he sees:
on a desk in the light, and on a phone in the dark. Look at them before you commit them.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.benchmarks.serving import ROOT, running
from tests.browser.conftest import DESK, PHONE, launched, opened
from tests.browser.pages import ask_many, open_recipes, run_with, sweep_to_the_end, to_layer, to_tab

QUALITY = 82
_EXAMPLE = 0  # of the picker


def compare(page) -> None:
    """Both answers to an example, what they cost, and its patches half way."""
    page.click(f".picker button:nth-child({_EXAMPLE + 1})")
    page.wait_for_function(f"location.search.includes('example={_EXAMPLE}')")
    run_with(page, "#run")
    page.wait_for_function("!document.querySelector('#notice').textContent.includes('being measured')")
    to_layer(page, 6)
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")


def look(page) -> None:
    """One token of the pruned answer: what else it might have been, and where the model looked for it."""
    compare(page)
    page.click(".card[data-side=pruned] .piece:nth-child(2)")
    page.wait_for_selector(".scrubber[data-mode=looks]")
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")


def present(page) -> None:
    """The same for a room."""
    compare(page)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    page.wait_for_selector("#presenter .keys.past")
    page.wait_for_timeout(1000)  # its words fade


def sweep(page) -> None:
    """One question at all budgets by some methods."""
    compare(page)
    to_tab(page, "Sweep")
    sweep_to_the_end(page)


def inspect(page) -> None:
    """Questions about scenes, those that pruning broke, and one of them."""
    to_tab(page, "Inspect")
    ask_many(page, 120)  # of 60 it may have broken a single one
    page.click("#table .shows [data-show=lost]")
    page.click("#table .line[data-place='1']")
    page.wait_for_selector("#row-picture img", state="attached")
    page.evaluate("scrollTo(0, 0)")


def recipes(page) -> None:
    """How many tokens each recipe leaves after each layer."""
    open_recipes(page)


def about(page) -> None:
    """The method in pictures."""
    to_tab(page, "About")


ON_A_DESK: tuple[Callable, ...] = (compare, look, present, sweep, inspect, recipes, about)
ON_A_PHONE: tuple[Callable, ...] = (compare, inspect)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "pages")
    parser.add_argument("--only", nargs="+", default=[], help="names of pages, such as sweep")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = [("", steps, "light", {"viewport": DESK}) for steps in ON_A_DESK]
    wanted += [("-phone", steps, "dark", PHONE) for steps in ON_A_PHONE]
    with tempfile.TemporaryDirectory() as folder, launched() as browser, running("--runs", folder) as (url, _):
        for ending, steps, theme, window in wanted:
            if options.only and steps.__name__ not in options.only:
                continue
            page = opened(browser, url, theme, **window)
            steps(page)
            page.wait_for_timeout(700)  # what fades in
            picture = Image.open(io.BytesIO(page.screenshot()))
            path = options.out / f"{steps.__name__}{ending}.webp"
            picture.save(path, quality=QUALITY, method=6)
            print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB", flush=True)
            page.context.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
