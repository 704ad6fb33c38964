"""Inspect from one end to the other in a real browser: figures against scipy, two logs, a run whose page is closed."""

from __future__ import annotations

import csv
import json
import re

import pytest
from scipy.stats import binomtest

from tests.browser.conftest import DESK, arrived, opened, prepared
from tests.browser.pages import open_results, to_tab, write_results

pytestmark = pytest.mark.browser


def visitor(browser, url):
    """The Inspect page of somebody who has just come, in a browser of his own."""
    page = opened(browser, url, viewport=DESK)
    to_tab(page, "Inspect")
    return page


def exported(page) -> list[dict[str, str]]:
    with page.expect_download() as waiting:
        page.click("#table [data-export=csv]")
    return list(csv.DictReader(waiting.value.path().read_text(encoding="utf-8").splitlines()))


def share(right: int, asked: int) -> str:
    """As the page writes it, computed by scipy alone."""
    interval = binomtest(right, asked).proportion_ci(0.95, method="wilson")
    return (
        f"{100 * right / asked:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f}), {right:,} of {asked:,}"
    )


def test_totals_intervals_and_tests_are_scipys_on_the_exported_table(browser, url, tmp_path):
    page = visitor(browser, url)
    open_results(page, write_results(tmp_path / "answers.csv", (f"Question {number}?" for number in range(1_500))))
    for kind in ("", "read", "color"):
        page.select_option("#table .tools .kind", kind)
        rows = exported(page)
        assert {row["kind"] for row in rows} == ({kind} if kind else {"read", "color"})
        cells = [page.locator(f"#table .sums tbody tr:nth-child({at}) td").all_inner_texts() for at in (1, 2)]
        judged = [[row[f"{side}, judged"] == "right" for row in rows] for side in ("original", "fitprune 60 %")]
        for right, (told, *_) in zip(judged, cells, strict=True):
            assert told == share(sum(right), len(rows))
        same = sum(row["original"] == row["fitprune 60 %"] for row in rows)
        lost = sum(first and not second for first, second in zip(*judged, strict=True))
        won = sum(second and not first for first, second in zip(*judged, strict=True))
        p = binomtest(lost, lost + won, 0.5).pvalue
        _, told_same, told_test, told_flops = cells[1]
        assert told_same == share(same, len(rows))
        assert told_test.startswith(f"lost {lost}, won {won}, McNemar p")
        told_p = float(re.search(r"p [<=] ([\d.]+)", told_test)[1])
        assert p < 0.001 if "p < 0.001" in told_test else told_p == pytest.approx(p, abs=0.006)
        assert ("no difference beyond chance" in told_test) == (p > 0.05)
        assert told_flops == "800 M"
    page.context.close()


def test_two_logs_of_lmms_eval_are_put_side_by_side(browser, url, tmp_path):
    for name, answers in (("original", ["yes"] * 6), ("pruned", ["yes", "no", "yes", "no", "yes", "yes"])):
        lines = [
            {"doc_id": at, "target": "yes", "filtered_resps": [answer], "doc_hash": str(at), "input": f"Is it {at}?",
             "exact_match": float(answer == "yes")}
            for at, answer in enumerate(answers)
        ]  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = visitor(browser, url)
    page.set_input_files("#results-file input[type=file]", str(tmp_path / "original.jsonl"))
    page.wait_for_function("document.querySelector('#inspect-notice').textContent.includes('second field')")
    page.set_input_files("#pruned-file input[type=file]", str(tmp_path / "pruned.jsonl"))
    page.wait_for_selector(".inspect[data-state=full]")
    page.click("#table .shows [data-show=lost]")
    assert page.inner_text("#table .count") == "2 of 6 questions"
    assert page.inner_text("#table .row-detail .question") == "Is it 1?"
    assert not page.is_visible("#table .open")  # a log holds no picture
    page.context.close()


def test_a_run_goes_on_without_its_page_and_is_its_visitors_alone(browser, url, engine, monkeypatch):
    page = visitor(browser, url)
    context = page.context
    page.fill("#how-many input[type=number]", "20")
    page.keyboard.press("Tab")
    monkeypatch.setattr(engine, "delay", 1.0)  # so that it is not over when he is back
    page.click("#ask")
    under_way = "/of 20|with 20/.test(document.querySelector('#inspect-notice').textContent)"
    page.wait_for_function(under_way)
    page.close()
    page = arrived(prepared(context.new_page()), url)
    to_tab(page, "Inspect")
    page.wait_for_function(under_way)
    monkeypatch.setattr(engine, "delay", 0.0)
    other = visitor(browser, url)
    page.wait_for_selector(".inspect[data-state=full]")
    assert page.inner_text("#table .count") == "20 of 20 questions"
    assert other.get_attribute("#table .inspect", "data-state") == "empty"
    other.context.close()
    context.close()


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_scrolled_and_filtered(browser, url, tmp_path):
    page = visitor(browser, url)
    open_results(page, write_results(tmp_path / "answers.csv", (f"Question {at}?" for at in range(100_000))))
    assert page.inner_text("#table .count") == "100,000 of 100,000 questions"
    page.evaluate("document.querySelector('#table .scroll').scrollTop = 1e9")
    page.wait_for_selector("#table .line[data-place='99999']")
    assert page.locator("#table .window .line").count() < 60
    page.fill("#table .tools .text", "question 99999?")
    assert page.inner_text("#table .count") == "1 of 100,000 questions"
    page.context.close()
