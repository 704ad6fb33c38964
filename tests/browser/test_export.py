"""A comparison saved from the page: opened offline, its scrubber works, and it shows what the page showed."""

from __future__ import annotations

import json

import pytest

from tests.browser.conftest import PATIENCE

pytestmark = pytest.mark.browser


def saved(page, button: str):
    with page.expect_download() as waiting:
        page.click(button)
    return waiting.value.path().read_text(encoding="utf-8")


def test_a_saved_page_works_offline(browser, url, tmp_path):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url + "?__theme=light")
    page.wait_for_selector(".board[data-state=done]")
    shown = page.inner_text("#scrubber .count")
    entries = json.loads(saved(page, "#save-json"))
    (tmp_path / "c.html").write_text(saved(page, "#save-page"), encoding="utf-8")
    context.set_offline(True)
    problems = []
    alone = context.new_page()
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
    context.close()


def test_a_saved_comparison_is_opened_without_a_run(browser, url, engine, tmp_path):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url + "?__theme=light")
    page.wait_for_selector(".board[data-state=done]")
    entries = json.loads(saved(page, "#save-json"))
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
    context.close()
