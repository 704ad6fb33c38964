"""Inspect in a real browser: results opened, filtered, sorted, walked through, tagged, exported."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.browser.conftest import DESK, PHONE, arrived, opened, prepared
from tests.browser.pages import box_of, count, margin_of, open_results, to_tab, write_results

pytestmark = pytest.mark.browser

ROWS = 5_000
ROOT = Path(__file__).resolve().parents[2]
HOSTILE = ["<img src=x onerror=alert(1)>", "${window.broken = 1}", "{{constructor}}", "`x`", "=HYPERLINK(1)"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Questions of which every fifth is lost, every seventh won, and the first ask what no page should run."""
    questions = (HOSTILE[number] if number < len(HOSTILE) else f"Question {order(number)}?" for number in range(ROWS))
    return write_results(tmp_path_factory.mktemp("results") / "answers.csv", questions)


def order(number: int) -> int:
    """The number in a question: all different, and not in the order of the file."""
    return number * 7919 % ROWS


def lost_among(numbers) -> list[int]:
    return [number for number in numbers if number % 7 and number % 5 == 0]


@pytest.fixture(scope="module")
def inspect(browser, url, results):
    """The page with the results opened."""
    page = opened(browser, url, viewport=DESK)
    page.on("dialog", lambda dialog: page.problems.append(dialog.message) or dialog.dismiss())
    to_tab(page, "Inspect")
    open_results(page, results)
    yield page
    page.context.close()


@pytest.fixture(autouse=True)
def all_rows(inspect):
    """Every test begins with all rows, in the order of the file."""
    inspect.fill("#table .tools .text", "")
    inspect.select_option("#table .tools .kind", "")
    inspect.click("#table .shows [data-show=all]")


def test_sums_are_those_of_the_file(inspect):
    lost, won = len(lost_among(range(ROWS))), sum(n % 7 == 0 and n % 5 > 0 for n in range(ROWS))
    second = inspect.inner_text("#table .sums tbody tr:nth-child(2)")
    assert f"lost {lost}, won {won}" in second
    assert f"{sum(n % 5 > 0 for n in range(ROWS)):,} of 5,000" in second
    assert inspect.locator("#table .plot .point").count() == 2


def test_filters_leave_what_they_say(inspect):
    assert count(inspect) == "5,000 of 5,000 questions"
    inspect.click("#table .shows [data-show=lost]")
    assert count(inspect) == f"{len(lost_among(range(ROWS))):,} of 5,000 questions"
    inspect.select_option("#table .tools .kind", "read")
    assert count(inspect) == f"{len(lost_among(range(0, ROWS, 3))):,} of 5,000 questions"
    inspect.fill("#table .tools .text", "no such words")
    assert count(inspect) == "0 of 5,000 questions"
    assert inspect.locator("#table .window .line").count() == 0


def test_where_no_row_is_left_that_is_said_with_the_way_back_to_all(inspect):
    assert inspect.is_hidden("#table .none")
    inspect.click("#table .shows [data-show=lost]")
    inspect.fill("#table .tools .text", "no such words")
    assert inspect.inner_text("#table .none").startswith("No row is left") and inspect.is_hidden("#table .head")
    inspect.click("#table .show-all")
    assert count(inspect) == "5,000 of 5,000 questions" and inspect.input_value("#table .tools .text") == ""
    assert inspect.is_hidden("#table .none") and inspect.is_visible("#table .head")


def test_answers_stand_in_whole_lines_below_the_right_one(inspect):
    boxes = [entry.bounding_box() for entry in inspect.locator("#table .answers > div").all()]
    assert len(boxes) == 3 and all(box["x"] == boxes[0]["x"] and box["width"] == boxes[0]["width"] for box in boxes)
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"] and inspect.is_hidden("#table .others")


def test_words_that_differ_are_underlined_and_a_cell_begins_at_the_first(inspect):
    inspect.click("#table .shows [data-show=lost]")
    assert inspect.locator("#table .answers u").all_inner_texts() == ["key", "cat"]
    assert inspect.inner_text("#table .line[data-place='0'] .c-side b") == "cat"
    inspect.click("#table .shows [data-show=same]")
    assert inspect.locator("#table .answers u").count() == 0


def test_only_rows_that_are_seen_are_drawn(inspect):
    assert inspect.locator("#table .window .line").count() < 60
    inspect.evaluate("document.querySelector('#table .scroll').scrollTop = 1e9")
    inspect.wait_for_selector(f"#table .line[data-place='{ROWS - 1}']")
    assert inspect.locator("#table .window .line").count() < 60


def test_a_filter_answers_at_once(inspect):
    """Within the tenth of a second that feels immediate, measured in the page; ten times that on a busy machine."""
    spent = inspect.evaluate("""() => {
      const field = document.querySelector('#table .tools .text'), began = performance.now();
      field.value = 'question 1'; field.dispatchEvent(new Event('input'));
      return performance.now() - began;
    }""")
    assert spent < 1000


def test_rows_are_sorted_by_a_click_on_their_head(inspect):
    head = "#table .head .c-question button"
    inspect.fill("#table .tools .text", "question")
    numbers = [order(number) for number in range(len(HOSTILE), ROWS)]
    for first in (min(numbers), max(numbers)):
        inspect.click(head)
        assert inspect.inner_text("#table .line[data-place='0'] .c-question") == f"Question {first}?"
    assert inspect.get_attribute("#table .head .c-question", "aria-sort") == "descending"
    inspect.click("#table .head .c-id button")


def test_the_surest_of_what_changed_comes_first_where_it_is_asked_for(inspect):
    inspect.click("#table .shows [data-show=lost]")
    lost = lost_among(range(ROWS))
    for surest in (min, max):
        inspect.click("#table .head .c-margin button")
        margin = f"{surest(map(margin_of, lost)):.2f}"
        assert inspect.inner_text("#table .line[data-place='0'] .c-margin") == margin
    assert f"wrong, margin {margin}" in inspect.inner_text("#table .row-detail dl")
    assert "right, margin 0.99" in inspect.inner_text("#table .row-detail dl")
    inspect.click("#table .head .c-id button")


def test_markup_and_templates_are_texts(inspect):
    for number, text in enumerate(HOSTILE):
        assert inspect.inner_text(f"#table .line[data-place='{number}'] .c-question") == text
    assert inspect.evaluate("window.broken") is None and inspect.problems == []


def test_a_row_is_walked_to_by_keyboard(inspect):
    inspect.click("#table .shows [data-show=lost]")
    inspect.focus("#table .scroll")
    for _ in range(3):
        inspect.keyboard.press("ArrowDown")
    lost = lost_among(range(ROWS))
    assert inspect.inner_text("#table .place").startswith(f"Row 4 of {len(lost)}")
    assert inspect.inner_text("#table .place").endswith(str(lost[3]))
    inspect.keyboard.press("End")
    assert inspect.inner_text("#table .place").endswith(str(lost[-1]))
    assert inspect.is_disabled("#table .next")
    said = inspect.locator("#table .row-detail dd").all_inner_texts()
    margin = f"{margin_of(lost[-1]):.2f}"
    judged = ["a key", "a key right, margin 0.99", f"a cat wrong, margin {margin}"]
    assert [text.split("\n")[0].strip() for text in said] == judged


def test_tags_stay_with_their_row_and_are_found(inspect):
    inspect.fill("#table .tools .text", "question 3?")
    identity = inspect.inner_text("#table .line[data-place='0'] .c-id")
    inspect.fill("#table .notes .tags", "small-text")
    inspect.fill("#table .notes .note", "the tail is cut")
    inspect.keyboard.press("Tab")
    inspect.fill("#table .tools .text", "small-text")
    assert count(inspect) == "1 of 5,000 questions"
    assert inspect.inner_text("#table .line[data-place='0'] .c-id") == identity
    exported = json.loads(download(inspect, "json"))["rows"]
    assert [(row["id"], row["tags"], row["note"]) for row in exported] == [(identity, "small-text", "the tail is cut")]


def test_a_click_right_after_a_tag_was_typed_counts(inspect):
    inspect.fill("#table .notes .tags", "odd")
    inspect.click("#table .line[data-place='2']")
    assert inspect.inner_text("#table .place").startswith("Row 3 of")
    assert inspect.inner_text("#table .line[data-place='0'] .c-tags") == "odd"
    chosen = inspect.locator("#table .line[aria-selected=true]")
    assert chosen.count() == 1 and chosen.get_attribute("data-place") == "2"


def download(inspect, kind: str) -> str:
    with inspect.expect_download() as waiting:
        inspect.click(f"#table [data-export={kind}]")
    return waiting.value.path().read_text(encoding="utf-8")


def test_an_exported_table_is_the_rows_that_are_shown(inspect):
    inspect.click("#table .shows [data-show=lost]")
    rows = list(csv.DictReader(download(inspect, "csv").splitlines()))
    assert [int(row["id"]) for row in rows] == lost_among(range(ROWS))
    assert all(row["original, judged"] == "right" and row["fitprune 60 %, judged"] == "wrong" for row in rows)


def test_an_exported_page_works_alone(inspect, tmp_path):
    inspect.fill("#table .tools .text", "x")
    (tmp_path / "answers.html").write_text(download(inspect, "html"), encoding="utf-8")
    page = inspect.context.new_page()
    page.context.set_offline(True)
    page.on("dialog", lambda dialog: inspect.problems.append(dialog.message) or dialog.dismiss())
    page.goto(f"file://{tmp_path}/answers.html")
    shown = page.locator("#rows tbody tr").count()
    heads = page.locator("#rows thead th").all_inner_texts()
    assert heads[3:7] == ["right answer", "original", "fitprune 60 %", "margin"]
    assert page.locator("#sums tbody tr").count() == 2
    assert shown and f"{shown} rows" in page.inner_text("body")
    page.fill("#filter", "onerror")
    assert page.locator("#rows tbody tr:visible").count() == 1 and HOSTILE[0] in page.inner_text("#rows tbody")
    page.context.set_offline(False)
    page.close()
    assert inspect.problems == []


def test_a_file_that_is_taken_away_takes_its_table_with_it(browser, url, results, tmp_path):
    page = opened(browser, url, viewport=DESK)
    to_tab(page, "Inspect")
    open_results(page, results)
    assert page.inner_text("#table caption") == "answers.csv: all questions"
    assert page.is_visible("#table .no-pictures") and not page.is_visible("#row-picture")
    page.click("#results-file button[aria-label=Clear]")
    page.wait_for_selector(".inspect[data-state=empty]")
    assert page.is_hidden("#table .row-detail")
    open_results(page, results)
    assert count(page) == "5,000 of 5,000 questions" and page.problems == []
    page.context.close()


def test_what_is_counted_is_what_the_text_leaves(inspect):
    inspect.fill("#table .tools .text", "question 1")
    left = {show: inspect.inner_text(f"#table [data-show={show}] b") for show in ("all", "lost")}
    for show, text in left.items():
        inspect.click(f"#table [data-show={show}]")
        assert count(inspect) == f"{text} of 5,000 questions"


@pytest.mark.parametrize("width", [1024, 1280])
def test_a_narrow_sheet_has_the_pruned_answer_in_sight(inspect, width):
    inspect.set_viewport_size({"width": width, "height": 800})
    inspect.wait_for_timeout(500)  # rows are drawn anew
    last = box_of(inspect, "#table .line[data-place='1'] .c-tags")
    assert last["x"] + last["width"] <= width
    has_room = inspect.evaluate("document.querySelector('#table .sheet').clientWidth") > 880
    assert inspect.is_visible("#table .head .c-kind") == has_room
    inspect.set_viewport_size({"width": 390, "height": 800})
    inspect.wait_for_timeout(500)
    assert "more" in inspect.get_attribute("#table .sheet", "class")
    side = box_of(inspect, "#table .line[data-place='1'] .c-side")
    assert side["x"] + side["width"] <= 390
    inspect.evaluate("document.querySelector('#table .sheet').scrollLeft = 1e6")
    inspect.wait_for_function("!document.querySelector('#table .sheet').classList.contains('more')")
    inspect.evaluate("document.querySelector('#table .sheet').scrollLeft = 0")
    inspect.set_viewport_size(DESK)


def test_of_many_sides_the_sums_of_a_few_are_shown_until_all_are_asked_for(browser, url):
    page = opened(browser, url, viewport=DESK)
    to_tab(page, "Inspect")
    open_results(page, ROOT / "recipes" / "mini-llava" / "evaluation.csv")
    lines = page.locator("#table .sums tbody tr:visible")
    assert lines.count() == 4
    page.select_option("#table .tools .side", "9")
    assert lines.count() == 4 and page.locator("#table .sums tr.chosen").is_visible()
    page.click("#table .all-sums")
    assert lines.count() == 11
    page.context.close()


def test_the_answers_that_ship_open_with_one_click(browser, url):
    page = opened(browser, url, viewport=DESK)
    to_tab(page, "Inspect")
    page.evaluate("""() => {
      window.told = [];
      const notice = document.querySelector('#inspect-notice');
      const observer = new MutationObserver(() => window.told.push(notice.textContent));
      observer.observe(notice, { childList: true, subtree: true, characterData: true });
    }""")
    assert page.inner_text("#open-shipped") == "Open mini-llava's 2,159 answers"
    page.click("#open-shipped")
    page.wait_for_selector(".inspect[data-state=full]")
    assert "Opening the answers…" in "".join(page.evaluate("window.told"))
    assert page.locator("#table .tools .side option:checked").inner_text() == "fitprune 60 %"
    assert page.get_attribute("#table [data-show=lost]", "aria-pressed") == "true"
    page.wait_for_function("document.querySelector('#row-picture img')?.naturalWidth > 100")
    assert page.is_visible("#table .open") and page.is_hidden("#table .no-pictures")
    assert page.inner_text("#table .others summary").startswith("9 other sides: ")
    assert page.locator("#table .answers u").count() > 0
    page.click("#table .others summary")
    assert page.locator("#table .others dd").count() == 9
    said = page.locator("#table .row-detail").evaluate("node => [node.scrollHeight, node.clientHeight]")
    assert said[0] == said[1]  # nothing is cut
    assert "c0" in page.get_attribute("#table .sums tr.chosen .swatch", "class")
    assert "c-first" in page.get_attribute("#table .sums tbody tr:first-child .swatch", "class")
    page.context.close()


def test_on_a_phone_what_was_found_comes_before_the_form_and_its_rows_before_the_sums(browser, url):
    page = opened(browser, url, **PHONE)
    to_tab(page, "Inspect")
    page.click("#open-shipped")
    page.wait_for_selector(".inspect[data-state=full]")
    page.wait_for_selector("#ask", state="hidden")
    page.wait_for_timeout(500)
    parts = ["#inspect-notice", "#table .tools", "#table .row-detail", "#table .sheet", "#table .totals"]
    script = "parts => parts.map((part) => document.querySelector(part).getBoundingClientRect().top + scrollY)"
    tops = page.evaluate(script, parts)
    assert tops == sorted(tops) and tops[2] < 844
    assert page.get_attribute("#table .totals", "open") is None and page.is_hidden("#table .head .c-expected")
    page.evaluate("scrollBy(0, 200 + document.querySelector('#table .row-detail').getBoundingClientRect().top)")
    bar = box_of(page, "#table .next")
    assert 0 <= bar["y"] < 60
    page.click("#table .totals summary")
    assert page.is_visible("#table .sums table") and page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


def test_notes_of_two_tabs_are_all_kept(browser, url, results):
    first = opened(browser, url, viewport=DESK)
    second = arrived(prepared(first.context.new_page()), url)
    for page in (first, second):
        to_tab(page, "Inspect")
        open_results(page, results)
    for page, row in ((first, 1), (second, 3)):
        page.click(f"#table .line[data-place='{row}']")
        page.fill("#table .notes .note", f"note {row}")
        page.keyboard.press("Tab")
    second.click("#table .line[data-place='1']")
    assert second.input_value("#table .notes .note") == "note 1"
    second.click("#table .line[data-place='3']")
    assert second.input_value("#table .notes .note") == "note 3"
    first.context.close()


@pytest.mark.parametrize("width", [390, 1024, 1440])
def test_sums_stay_inside_the_page_and_keep_their_columns(inspect, width):
    """On a phone below each other, each behind its head; no word is broken, and a reader aloud meets a table."""
    inspect.set_viewport_size({"width": width, "height": 844})
    cells = inspect.locator("#table .sums tbody tr:nth-child(2) > *").all()
    boxes = [cell.bounding_box() for cell in cells]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    is_stacked = boxes[1]["y"] > boxes[0]["y"]
    assert is_stacked == (width == 390)
    if is_stacked:
        heads = [cell.evaluate("cell => getComputedStyle(cell, '::before').content") for cell in cells[1:]]
        assert heads == [f'"{head}"' for head in ("right", "as the original", "against the original", "visual FLOPs")]
        assert all(box["height"] <= 44 for box in boxes)  # two lines
    table = inspect.locator("#table .sums").get_by_role("table")
    assert table.get_by_role("rowheader").count() == table.get_by_role("row").count() - 1 == 2
    inspect.set_viewport_size({"width": 1440, "height": 900})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("other.csv", "a,b\n1,2\n", "there is no column id"),
        ("cut.csv", "id,reduction,method,answer,expected,correct\n1,0,orig", "cut off"),
        ("one.jsonl", '{"doc_id": 1, "filtered_resps": ["a"]}\n', "give the pruned model's log too"),
    ],
)
def test_what_is_no_result_is_told_in_a_sentence(browser, url, tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    page = opened(browser, url)
    to_tab(page, "Inspect")
    page.set_input_files("#results-file input[type=file]", str(tmp_path / name))
    page.wait_for_function("words => document.querySelector('#inspect-notice').textContent.includes(words)", arg=words)
    assert str(tmp_path) not in page.inner_text("#inspect-notice") and "/tmp" not in page.inner_text("#inspect-notice")
    page.context.close()
