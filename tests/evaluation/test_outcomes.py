"""Answers side by side: from the table of an evaluation, and from the logs of two lmms-eval runs."""

from __future__ import annotations

import csv
import json
from collections import Counter
from functools import partial

import pytest

from fitprune_core import normalised
from fitprune_core.evaluation.lmms_logs import read_lmms_logs
from fitprune_core.evaluation.outcomes import against, read_results, summaries
from tests.evaluation.rows import rows_of


def write_table(path, lines, header=("id", "reduction", "method", "answer", "expected", "correct")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])
    return path


LINES = [
    ("1", "0.0", "original", "a key", "a key", "1"),
    ("1", "0.6", "random", "a car", "a key", "0"),
    ("2", "0.0", "original", "Red.", "blue", "0"),
    ("2", "0.6", "random", "red", "blue", "0"),
    ("3", "0.0", "original", "no", "", ""),
    ("3", "0.6", "random", "yes", "", ""),
]


class TestReadResults:
    @pytest.mark.slow
    def test_an_evaluation_is_read_back(self, run, tmp_path, samples):
        run()
        found, rows = read_results(tmp_path / "out" / "results.csv"), rows_of(tmp_path)
        assert [side.name for side in found.sides] == [
            "original", "fitprune 30 %", "random 30 %", "fitprune 60 %", "random 60 %"
        ]  # fmt: skip
        assert [asked.id for asked in found.questions] == ["s0", "s1", "s2"]
        assert [asked.text for asked in found.questions] == [f"What is {n}?" for n in range(3)]
        assert [asked.picture for asked in found.questions] == ["0.png", "1.png", "2.png"]
        for side in found.sides:
            mine = [row for row in rows if (row.method, row.reduction) == (side.method, side.reduction)]
            assert [given.text for given in side.answers] == [row.answer for row in mine]
            assert [given.right for given in side.answers] == [
                {"1": True, "0": False, "": None}[r.correct] for r in mine
            ]
        assert found.model == rows[0].model

    @pytest.mark.slow
    def test_kinds_of_the_samples_file_are_kept(self, run, tmp_path, samples):
        entries = [json.loads(line) for line in samples.read_text().splitlines()]
        for entry, kind in zip(entries, ("color", "x" * 200, ["no text"]), strict=True):
            entry["kind"] = kind
        samples.write_text("\n".join(map(json.dumps, entries)))
        run((0.5,))
        kinds = [asked.kind for asked in read_results(tmp_path / "out" / "results.csv").questions]
        assert kinds[0] == "color" and len(kinds[1]) <= 80 and kinds[2] == ""

    def test_a_table_of_the_first_columns_alone_will_do(self, tmp_path):
        found = read_results(write_table(tmp_path / "old.csv", LINES))
        assert len(found.questions) == 3 and found.model == ""

    @pytest.mark.parametrize(
        ("lines", "words"),
        [
            ([*LINES, LINES[1]], "has an answer"),
            ([*LINES, ("4", "0.6")], "2 of 6 columns"),
            ([*LINES, ("4", "1.5", "random", "", "", "")], "0 <= reduction < 1"),
            ([*LINES, ("4", "nan", "random", "", "", "")], "cannot be"),
            ([*LINES, ("4", "x", "random", "", "", "")], "no number"),
            ([*LINES, ("4", "0.6", "random", "", "", "yes")], "correct is 'yes'"),
            ([line for line in LINES if line[2] == "random"], "no answer of the original"),
            ([], "holds no answer"),
        ],
    )
    def test_what_is_no_whole_table_is_refused(self, tmp_path, lines, words):
        with pytest.raises(ValueError, match=words):
            read_results(write_table(tmp_path / "bad.csv", lines))

    def test_answers_of_two_models_are_refused(self, tmp_path):
        lines = [(*line, name) for line, name in zip(LINES, ["a", "a", "b", "b", "b", "b"], strict=True)]
        header = ("id", "reduction", "method", "answer", "expected", "correct", "model")
        with pytest.raises(ValueError, match="line 4: its model is 'b'"):
            read_results(write_table(tmp_path / "two.csv", lines, header))

    @pytest.mark.parametrize(
        "content",
        [b"", b"\x89PNG\r\n", b"a,b\n1,2\n", b'id,reduction,method,answer,expected,correct\n1,0,original,"cut'],
    )
    def test_other_files_are_refused_in_a_sentence(self, tmp_path, content):
        (tmp_path / "other.csv").write_bytes(content)
        with pytest.raises(ValueError, match="other.csv"):
            read_results(tmp_path / "other.csv")


class TestSummaries:
    @pytest.mark.slow
    def test_they_are_counts_of_the_table(self, run, tmp_path):
        run()
        rows, found = rows_of(tmp_path), read_results(tmp_path / "out" / "results.csv")
        original = {row.id: row for row in rows if row.method == "original"}
        for side, summary in zip(found.sides, summaries(found), strict=True):
            mine = [row for row in rows if (row.method, row.reduction) == (side.method, side.reduction)]
            pairs = Counter((original[row.id].correct, row.correct) for row in mine if row.correct)
            assert (summary.right.right, summary.right.asked) == (
                sum(r.correct == "1" for r in mine),
                sum(pairs.values()),
            )
            assert summary.same.right == sum(row.agrees == "1" for row in mine)
            if summary.against is not None:
                assert (summary.against.lost, summary.against.won) == (pairs["1", "0"], pairs["0", "1"])
            assert summary.visual_gflops == pytest.approx(sum(row.visual_gflops for row in mine) / len(mine))

    def test_among_some_questions(self, tmp_path):
        found = read_results(write_table(tmp_path / "table.csv", LINES))
        whole, first = summaries(found)[1], summaries(found, [0])[1]
        assert (whole.right.asked, whole.against.lost, whole.same.right) == (2, 1, 1)
        assert (first.right.asked, first.against.lost, first.same.right) == (1, 1, 0)
        assert summaries(found, [2])[1].right is None and summaries(found, [])[1].same is None


def log_line(number, answer, **more):
    return {"doc_id": number, "target": "yes", "filtered_resps": [answer], "doc_hash": f"h{number}",
            "input": f"<image>\nIs it {number}?", "token_counts": [None]} | more  # fmt: skip


def write_log(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


class TestLmmsLogs:
    def read(self, tmp_path, original, pruned):
        return read_lmms_logs(write_log(tmp_path / "a.jsonl", original), write_log(tmp_path / "b.jsonl", pruned))

    def test_two_runs_are_put_side_by_side(self, tmp_path):
        found = self.read(
            tmp_path,
            [log_line(n, "Yes", exact_match=1.0) for n in range(4)],
            [log_line(n, "No" if n < 2 else "yes", exact_match=float(n >= 2)) for n in (3, 2, 1)],
        )
        assert [asked.id for asked in found.questions] == ["1", "2", "3"]
        assert found.questions[0].text == "Is it 1?" and found.questions[0].expected == "yes"
        assert [given.text for given in found.sides[1].answers] == ["No", "yes", "yes"]
        summary = summaries(found)[1]
        assert (summary.against.lost, summary.against.won, summary.same.right) == (1, 0, 2)

    def test_a_mark_may_be_an_object_with_a_score(self, tmp_path):
        lines = [log_line(n, "yes", mme={"question_id": n, "score": n % 2}) for n in range(4)]
        assert [given.right for given in self.read(tmp_path, lines, lines).sides[0].answers] == [False, True] * 2

    @pytest.mark.parametrize("metric", [{}, {"gpt_eval": 7.5}, {"gpt_eval": {"review": "good"}}])
    def test_without_a_mark_nothing_is_called_right(self, tmp_path, metric):
        lines = [log_line(n, "yes", **metric) for n in range(2)]
        found = self.read(tmp_path, lines, lines)
        assert all(given.right is None for side in found.sides for given in side.answers)
        assert summaries(found)[1].right is None and summaries(found)[1].same.value == 1

    def test_answers_of_other_shapes_are_shown_as_they_are(self, tmp_path):
        lines = [log_line(0, [["a  b\nc"]]), {**log_line(1, ""), "filtered_resps": [[-1.5, True], [-0.5, False]]}]
        found = self.read(tmp_path, lines, lines)
        assert [given.text for given in found.sides[0].answers] == ["a b c", "[[-1.5, true], [-0.5, false]]"]

    @pytest.mark.parametrize(
        ("original", "pruned", "words"),
        [
            ([log_line(0, "a")], [log_line(1, "a")], "no question in common"),
            ([log_line(0, "a")], [log_line(0, "a", doc_hash="other")], "another one"),
            ([log_line(0, "a"), log_line(0, "a")], [log_line(0, "a")], "came before"),
            ([{"id": "1"}], [log_line(0, "a")], "no line of an lmms-eval"),
            ([], [log_line(0, "a")], "holds no answer"),
        ],
    )
    def test_what_cannot_be_paired_is_refused(self, tmp_path, original, pruned, words):
        with pytest.raises(ValueError, match=words):
            self.read(tmp_path, original, pruned)


def test_normalised_decides_what_is_the_same(tmp_path):
    found = read_results(write_table(tmp_path / "table.csv", LINES))
    same = [normalised(a.text) == normalised(b.text) for a, b in zip(*(s.answers for s in found.sides), strict=True)]
    assert summaries(found)[1].same.right == sum(same)


@pytest.mark.slow
def test_the_printed_shares_are_those_that_are_read_back(run, tmp_path):
    """Also their intervals, by picture: two of the three samples are about one."""
    path = tmp_path / "samples.jsonl"
    path.write_text(path.read_text().replace('"1.png"', '"0.png"'))
    scores = run((0.6,), methods=("fitprune",))
    found = summaries(read_results(tmp_path / "out" / "results.csv"))
    assert [(score.right, score.same) for score in scores] == [(each.right, each.same) for each in found]
    assert scores[1].same.asked == 3 and scores[1].right.asked == 2


class TestAgainst:
    def test_two_sides_by_the_questions_that_one_alone_got_right(self, tmp_path):
        marks = {"original": "1100", "fitprune": "1011", "random": "0110"}
        lines = [
            (str(number), "0.0" if method == "original" else "0.6", method, "x", "y", mark)
            for method, of_method in marks.items()
            for number, mark in enumerate(of_method)
        ]
        found = read_results(write_table(tmp_path / "two.csv", lines))
        original, fitprune, random = found.sides
        compared = partial(against, fitprune, random, found.pictures)
        for side, other, expected in (
            (fitprune, random, (1, 2)),
            (random, fitprune, (2, 1)),
            (random, original, (1, 1)),
        ):
            pair = against(side, other, found.pictures)
            assert (pair.lost, pair.won) == expected
        assert (compared([1, 2]).lost, compared([3]).won) == (1, 1)
        assert compared([]) is None
