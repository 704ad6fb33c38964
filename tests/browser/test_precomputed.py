"""Examples that were made beforehand open without a run; what is asked anew runs."""

from __future__ import annotations

import httpx
import pytest

from app.asking.scenes import load_examples
from app.precomputed import write_ready
from tests.app.fake_engine import FakeEngine, make_comparison
from tests.app.serving import served
from tests.browser.conftest import new_page
from tests.browser.pages import box_of, run_with

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def engine():
    """One of its own, which nothing was asked before."""
    return FakeEngine(("a red car", "a blue car"), delay=0.05)


@pytest.fixture(scope="module")
def url(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("precomputed")
    for example in load_examples()[:2]:
        recipe = FakeEngine().recipe_for(example.percent)
        comparison = make_comparison(example.open().size, example.question, recipe, ("a green tree", "a green tree"))
        write_ready(folder, engine, example, comparison)
    with served(engine, precomputed=folder) as address:
        yield address


def is_shown(page, number: int) -> bool:
    page.wait_for_function(f"location.search.includes('example={number}')")
    page.wait_for_timeout(600)  # a run would begin now
    assert page.get_attribute(".board", "data-state") == "done"
    return page.inner_text(".card[data-side=pruned] .answer") == "a green tree"


def test_the_first_is_there_without_a_run(page, engine):
    assert is_shown(page, 0) and engine.asked == [] and page.get_attribute(".board", "data-stale") == "false"
    assert "Made beforehand, on 2" in page.inner_text("#notice") and "beforehand" not in page.inner_text("#answers")
    times = page.locator("#answers tbody tr").all_inner_texts()[2]
    assert " ".join(times.split()) == "Times i press Run to measure them"
    assert page.problems == []


def test_another_opens_at_once_and_looks_current(page, engine):
    page.click(".picker button:nth-child(2)")
    assert is_shown(page, 1) and engine.asked == [] and page.get_attribute(".board", "data-stale") == "false"


def test_both_are_in_the_history(page):
    page.wait_for_function("document.querySelector('#history .opener').textContent === 'History (2)'")


def test_run_answers_here_and_measures(page, engine):
    before = box_of(page, "#scrubber")["y"]
    run_with(page, "#run")
    assert page.inner_text(".card[data-side=pruned] .answer") == "a blue car" and len(engine.asked) == 1
    assert page.locator("#answers tr", has_text="Prefill").count() == 1 and "Times" not in page.inner_text("#answers")
    assert box_of(page, "#scrubber")["y"] == before  # three rows take the room of the one before


def test_what_was_not_made_beforehand_runs(page, engine):
    run_with(page, ".picker button:nth-child(3)")
    assert len(engine.asked) == 2
    run_with(page, "#new-scene")
    assert len(engine.asked) == 3
    page.click(".picker button:nth-child(1)")
    assert is_shown(page, 0) and len(engine.asked) == 3


@pytest.mark.parametrize("late", ["answer", "request", "request after the run"])
def test_whoever_runs_before_the_page_has_arrived_gets_his_result_and_it_looks_current(
    browser, url, engine, monkeypatch, late
):
    """The page's own first event is held up on its way, there or back, and meanwhile somebody presses Run."""
    page, held = new_page(browser), []
    config = httpx.get(f"{url}config", timeout=60).json()
    first = next(event["id"] for event in config["dependencies"] if event["api_name"] == "arrive")

    def hold(route):
        if held or (route.request.post_data_json or {}).get("fn_index") != first:
            route.continue_()
            return
        held.append((route, route.fetch() if late == "answer" else None))

    page.route("**/gradio_api/**", hold)
    asked = len(engine.asked)
    page.goto(url + "?__theme=light")
    page.wait_for_function("document.querySelector('#run')")
    while not held:
        page.wait_for_timeout(20)
    monkeypatch.setattr(engine, "delay", 1.0)  # the run goes on while the first event arrives
    page.click("#run")
    page.wait_for_selector(".board[data-state=running]")
    if late == "request after the run":
        page.wait_for_function("window.results >= 1 && document.querySelector('.board').dataset.state === 'done'")
    route, answer = held[0]
    route.continue_() if answer is None else route.fulfill(response=answer)
    page.wait_for_timeout(1500)
    monkeypatch.undo()
    page.wait_for_function("window.results >= 1 && document.querySelector('.board').dataset.state === 'done'")
    page.wait_for_function("!document.querySelector('#notice').textContent.includes('being measured')")
    page.wait_for_timeout(600)  # a second run would begin now
    assert page.get_attribute(".board", "data-state") == "done" and len(engine.asked) == asked + 1
    assert page.inner_text(".card[data-side=pruned] .answer") == "a blue car"
    assert page.get_attribute(".board", "data-stale") == "false"
    page.context.close()
