"""A comparison saved from the page: opened offline, its scrubber works, and it shows what the page showed."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from fitprune_core.report.drawing import LayerDrawing
from fitprune_core.report.export import page_of
from tests.browser.conftest import opened
from tests.browser.pages import to_layer

pytestmark = pytest.mark.browser


# Of each cell, how many lines its text has.
LINES = """(all) => all.map((node) => {
  const range = document.createRange();
  range.selectNodeContents(node);
  return range.getClientRects().length;
})"""


def saved(page, ending: str) -> bytes:
    """What the menu hands over."""
    page.click("#saver .opener")
    with page.expect_download() as waiting:
        page.click(f"#saver [data-ending='{ending}']")
    assert waiting.value.suggested_filename == f"fitprune-comparison{ending}"
    return waiting.value.path().read_bytes()


def test_a_saved_page_works_offline(browser, url, tmp_path):
    page = opened(browser, url)
    shown = page.inner_text("#scrubber .count")
    entries = json.loads(saved(page, ".json"))
    (tmp_path / "c.html").write_bytes(saved(page, ".html"))
    page.context.set_offline(True)
    problems = []
    alone = page.context.new_page()
    alone.on("pageerror", lambda error: problems.append(str(error)))
    alone.on("requestfailed", lambda request: problems.append(request.url))
    alone.goto(f"file://{tmp_path}/c.html")
    assert alone.inner_text("#original") == "a red car" and alone.inner_text("#pruned") == "a blue car"
    assert alone.inner_text("#verdict") == "≠ Different answers"
    assert alone.inner_text("#scrubber .count") == shown
    alone.click("#scrubber .strip button:nth-child(3)")
    kept = entries["trace"]["tokens"][2]
    assert f"{kept} of {len(entries['trace']['boxes'])}" in alone.inner_text("#scrubber .count")
    assert alone.evaluate("document.querySelector('#scrubber canvas').width") > 100
    assert alone.locator("#figures tr").count() == 6 and problems == []
    assert alone.locator(".mark").all_inner_texts() == ["✗ wrong", "✗ wrong"]
    assert alone.inner_text("#truth") == page.inner_text("#answers .truth") != ""
    assert alone.locator("thead th").all_inner_texts()[1:3] == ["Original", "FitPrune 60\u00a0%"]
    entries["comparison"]["paired"] = {}
    (tmp_path / "untimed.html").write_text(page_of(entries), encoding="utf-8")
    alone.set_viewport_size({"width": 390, "height": 844})
    alone.goto(f"file://{tmp_path}/untimed.html")
    labels = ["Visual FLOPs", "Total FLOPs", "KV cache", "Answer tokens"]
    assert alone.locator("#figures th").all_inner_texts() == labels  # of one run, times say nothing
    assert alone.evaluate("document.documentElement.scrollWidth") <= 390
    lines = alone.locator("#figures td").evaluate_all(LINES)
    assert set(lines) <= {0, 1}  # no figure is parted from its unit
    page.context.close()


def test_a_saved_comparison_is_opened_without_a_run(browser, url, engine, tmp_path):
    page = opened(browser, url)
    entries = json.loads(saved(page, ".json"))
    entries["comparison"] |= {"model": "some/llava-7b", "question": "Who?", "agree": True}
    entries["comparison"]["pruned"]["answer"] = entries["comparison"]["original"]["answer"] = "<b>nobody</b>"
    (tmp_path / "elsewhere.json").write_text(json.dumps(entries))
    asked = len(engine.asked)
    page.set_input_files("#exports input[type=file]", str(tmp_path / "elsewhere.json"))
    page.wait_for_function("document.querySelector('#notice').textContent.includes('some/llava-7b')")
    assert page.inner_text(".card[data-side=pruned] .answer") == "<b>nobody</b>"
    assert page.input_value("#question textarea") == "Who?" and len(engine.asked) == asked
    assert page.get_attribute(".board", "data-stale") == "false"
    (tmp_path / "bad.json").write_text("{}")
    page.set_input_files("#exports input[type=file]", str(tmp_path / "bad.json"))
    page.wait_for_function("document.querySelector('#notice').textContent.includes('no exported comparison')")
    page.context.close()


def test_the_layer_that_is_shown_and_all_layers_are_saved_as_pictures(page):
    to_layer(page, 4)
    entries = json.loads(saved(page, ".json"))
    drawing, layers = LayerDrawing(entries), len(entries["trace"]["tokens"])
    shown = Image.open(io.BytesIO(saved(page, ".png"))).convert("RGB")
    assert (np.asarray(shown) == np.asarray(drawing.frame(3))).all()
    for ending in (".gif", ".webp"):
        film = Image.open(io.BytesIO(saved(page, ending)))
        assert (film.n_frames, film.size) == (layers + 1, drawing.size)
    page.wait_for_function("document.querySelector('#notice').textContent.includes('fitprune-comparison.webp')")
    assert page.inner_text("#saver .opener") == "Save" and page.problems == []


def test_the_menu_works_by_keyboard_and_closes(page):
    page.focus("#saver .opener")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.ending") == ".png"
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.ending") == ".json"
    layer = page.get_attribute(".scrubber", "data-layer")
    page.keyboard.press("Escape")
    assert page.is_hidden("#saver .items") and page.evaluate("document.activeElement.className") == "opener"
    assert page.get_attribute(".scrubber", "data-layer") == layer
    page.click("#saver .opener")
    page.mouse.click(700, 600)
    assert page.is_hidden("#saver .items")


def test_a_file_is_handed_over_once(page):
    handed = []
    page.on("download", lambda download: handed.append(download.suggested_filename))
    saved(page, ".json")
    page.get_by_role("tab", name="About").click()
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_selector("#saver .opener")
    page.wait_for_timeout(500)
    assert handed == ["fitprune-comparison.json"]
