from __future__ import annotations

import csv
import gc
import json
import logging
import tracemalloc
from dataclasses import replace

import pytest

from fitprune_core import collect_statistics, fit_recipe
from fitprune_core.cost.decoder import visual_flops
from fitprune_core.evaluation import evaluation
from fitprune_core.evaluation.answer_sheet import ORIGINAL, Answer, AnswerSheet, Conditions, read_answers, scores
from fitprune_core.evaluation.evaluation import evaluate
from fitprune_core.run.comparison import compare
from fitprune_core.samples.processes import Processes, part_path, part_paths
from tests.tiny import random_picture

HEADER = (
    "id,reduction,method,answer,expected,correct,agrees,new_tokens,visual_tokens,achieved_reduction,visual_gflops,"
    "total_gflops,model,max_new_tokens,image_aspect"
)


@pytest.fixture(scope="module")
def recipe_for(tiny):
    statistics = collect_statistics(*tiny, [(random_picture(seed=seed), f"Question {seed}?") for seed in range(3)])
    return lambda reduction: fit_recipe(statistics, reduction)


@pytest.fixture
def samples(tmp_path):
    """A samples file of three pictures; the second has no right answer."""
    lines = []
    for number in range(3):
        random_picture(seed=number).save(tmp_path / f"{number}.png")
        lines.append(
            {"id": f"s{number}", "image": f"{number}.png", "question": f"What is {number}?", "answer": "a key"}
        )
    del lines[1]["answer"]
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


@pytest.fixture
def run(tiny, recipe_for, samples, tmp_path):
    """Evaluates the tiny model on the samples, with short answers."""

    def run(reductions=(0.3, 0.6), **options):
        options = {"methods": ("fitprune", "random"), "max_new_tokens": 3} | options
        return evaluate(*tiny, samples, reductions, recipe_for, tmp_path / "out" / "results.csv", **options)

    return run


def rows_of(tmp_path) -> list[Answer]:
    return list(read_answers(tmp_path / "out" / "results.csv"))


class TestEvaluate:
    def test_every_sample_is_answered_in_every_way(self, run, tmp_path):
        run()
        ways = [(0.0, "original"), (0.3, "fitprune"), (0.3, "random"), (0.6, "fitprune"), (0.6, "random")]
        assert [row.key for row in rows_of(tmp_path)] == [(f"s{n}", *way) for n in range(3) for way in ways]
        assert (tmp_path / "out" / "results.csv").read_text().splitlines()[0] == HEADER

    def test_two_seeds_are_two_ways(self, run, tmp_path):
        scores = run((0.6,), methods=("random", "random:seed=0", "random:seed=1"))
        assert [score.method for score in scores] == [ORIGINAL, "random", "random(seed=1)"]
        before = (tmp_path / "out" / "results.csv").read_bytes()
        run((0.6,), methods=("random:seed=1",))
        assert (tmp_path / "out" / "results.csv").read_bytes() == before

    def test_rows_say_what_a_comparison_says(self, run, tiny, recipe_for, tmp_path):
        run()
        rows = {row.key: row for row in rows_of(tmp_path)}
        comparison = compare(*tiny, random_picture(seed=1), "What is 1?", recipe_for(0.6), max_new_tokens=3, repeats=0)
        for row, ours in (
            (rows["s1", 0.0, ORIGINAL], comparison.original),
            (rows["s1", 0.6, "fitprune"], comparison.pruned),
        ):
            assert row.answer == " ".join(ours.answer.split())
            assert row.new_tokens == ours.new_tokens
            assert row.visual_gflops == pytest.approx(ours.visual_gflops)
            assert row.total_gflops == pytest.approx(ours.total_gflops)
            assert row.visual_tokens == 36
        assert rows["s1", 0.6, "fitprune"].achieved_reduction == comparison.achieved_reduction
        assert rows["s1", 0.6, "fitprune"].agrees == ("1" if comparison.agree else "0")
        assert rows["s1", 0.0, ORIGINAL].agrees == "1"

    def test_answers_are_judged_but_for_case_and_punctuation(self, run, samples, tmp_path):
        run(())
        said = [row.answer for row in rows_of(tmp_path)]
        entries = [json.loads(line) for line in samples.read_text().splitlines()]
        entries[0]["answer"] = f"  {said[0].upper()} . "
        samples.write_text("\n".join(map(json.dumps, entries)))
        (tmp_path / "out" / "results.csv").unlink()
        (score,) = run(())
        assert [row.correct for row in rows_of(tmp_path)] == ["1", "", "0"]
        assert (score.samples, score.asked, score.accuracy, score.agreement) == (3, 2, 0.5, 1.0)

    def test_scores_sum_the_rows_up(self, run, tiny, tmp_path):
        found = run((0.6, 0.0, 0.6), methods=("fitprune", "fitprune"))
        assert [(score.method, score.reduction) for score in found] == [("original", 0.0), ("fitprune", 0.6)]
        rows = [row for row in rows_of(tmp_path) if row.method == "fitprune"]
        assert found[1].agreement == sum(row.agrees == "1" for row in rows) / 3
        assert found[1].total_gflops == pytest.approx(sum(row.total_gflops for row in rows) / 3)
        assert found[1].achieved_reduction == pytest.approx(0.6, abs=0.004)
        assert found[0].visual_gflops == pytest.approx(visual_flops(tiny[0].config, (0,) * 4, 36) / 1e9)
        assert scores(tmp_path / "out" / "results.csv") == found

    def test_progress_counts_samples(self, run):
        steps = []
        run((), progress=lambda *step: steps.append(step))
        assert steps == [(1, 3), (2, 3), (3, 3)]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"methods": ("best",)}, "'best'"),
            ({"reductions": (0.5, 60)}, "60 % is written 0.6"),
            ({"max_new_tokens": 5000}, "none of the 3 samples"),
        ],
    )
    def test_what_cannot_be_is_refused(self, run, tmp_path, options, message):
        with pytest.raises(ValueError, match=message):
            run(**options)

    def test_recipes_of_another_depth_are_refused(self, run, tiny, samples, recipe_for, tmp_path):
        deeper = replace(recipe_for(0.5), num_layers=5, removed=(0,) * 5)
        with pytest.raises(ValueError, match="5 layers"):
            evaluate(*tiny, samples, [0.5], lambda _: deeper, tmp_path / "x.csv")
        assert not (tmp_path / "x.csv").exists()


class TestBadSamples:
    def test_are_reported_and_left_out(self, run, samples, tmp_path, caplog):
        (tmp_path / "0.png").write_text("no picture")
        (tmp_path / "2.png").unlink()
        with caplog.at_level(logging.WARNING):
            found = run((0.5,), methods=("fitprune",))
        assert [row.id for row in rows_of(tmp_path)] == ["s1", "s1"]
        assert found[0].samples == 1
        reports = [record.getMessage() for record in caplog.records]
        assert len(reports) == 2
        assert "s0" in reports[0]
        assert "samples.jsonl, line 1" in reports[0]
        assert "2.png" in reports[1]

    def test_are_tried_again(self, run, tmp_path):
        picture = (tmp_path / "2.png").read_bytes()
        (tmp_path / "2.png").write_bytes(picture[:20])
        run((), methods=())
        (tmp_path / "2.png").write_bytes(picture)
        run((), methods=())
        assert [row.id for row in rows_of(tmp_path)] == ["s0", "s1", "s2"]

    def test_a_broken_line_ends_the_run_before_it_begins(self, run, samples, tmp_path):
        samples.write_text(samples.read_text() + "{\n")
        with pytest.raises(ValueError, match=r"samples\.jsonl, line 4"):
            run()
        assert not (tmp_path / "out").exists()


class TestGoingOn:
    def test_nothing_is_answered_twice(self, run, tmp_path, monkeypatch):
        run((0.3,))
        before = (tmp_path / "out" / "results.csv").read_bytes()
        asked = []
        monkeypatch.setattr(evaluation, "answer", lambda *args, **kwargs: asked.append(args))
        run((0.3,))
        assert not asked
        assert (tmp_path / "out" / "results.csv").read_bytes() == before

    def test_a_new_budget_adds_its_rows_only(self, run, tmp_path):
        run((0.3,), methods=("fitprune",))
        run((0.3, 0.6), methods=("fitprune",))
        keys = [row.key for row in rows_of(tmp_path)]
        assert len(keys) == len(set(keys)) == 9
        assert keys[-3:] == [(f"s{n}", 0.6, "fitprune") for n in range(3)]

    @pytest.mark.parametrize("cut", [1, 40, 150, 400])
    def test_a_file_cut_anywhere_is_completed(self, run, tmp_path, cut):
        run()
        path = tmp_path / "out" / "results.csv"
        whole = path.read_bytes()
        path.write_bytes(whole[:-cut])
        run()
        assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())

    def test_a_file_cut_in_its_first_line_is_begun_anew(self, run, tmp_path):
        path = tmp_path / "out" / "results.csv"
        path.parent.mkdir()
        path.write_text(HEADER[:30])
        run(())
        assert len(rows_of(tmp_path)) == 3

    @pytest.mark.parametrize("text", ["notes without an end", "id,answer\n1,a key\n", "\x00\n"])
    def test_somebody_elses_file_is_left_alone(self, run, tmp_path, text):
        path = tmp_path / "out" / "results.csv"
        path.parent.mkdir()
        path.write_text(text)
        with pytest.raises(ValueError, match=r"results\.csv is no table of answers"):
            run()
        assert path.read_text() == text

    def test_answers_under_other_conditions_are_not_mixed(self, run, tmp_path):
        run(())
        with pytest.raises(ValueError, match=r"results\.csv, line 2: max_new_tokens is 3, not 4; name another file"):
            run((), max_new_tokens=4)
        path = tmp_path / "out" / "results.csv"
        path.write_text(path.read_text().replace("LlavaForConditionalGeneration", "other"))
        with pytest.raises(ValueError, match="line 2: model is other"):
            run(())
        path.write_text(path.read_text().replace("other", "LlavaForConditionalGeneration").replace(",crop", ",pad"))
        with pytest.raises(ValueError, match="line 2: image_aspect is pad, not crop"):
            run(())

    def test_a_broken_row_is_named(self, run, tmp_path):
        run(())
        path = tmp_path / "out" / "results.csv"
        lines = path.read_text().splitlines()
        for broken, message in ((lines[2] + ",9", "16 columns"), (lines[2].replace("s1,0.0", "s1,none"), "none")):
            path.write_text("\n".join([*lines[:2], broken]) + "\n")
            with pytest.raises(ValueError, match=rf"results\.csv, line 3: .*{message}"):
                run(())


class Stopped(Exception):
    """The run was stopped here."""


class Share(Processes):
    """One of several processes, run alone and stopped when it has done its share."""

    def agree(self, work):
        return work()

    def on_main(self, work):
        if getattr(work, "func", None) is not evaluation.merge_parts:
            return work()
        if part_path(work.args[0], self.rank).exists():
            raise Stopped
        return work() if self.is_main else None


class TestSeveralProcesses:
    @pytest.fixture
    def shares(self, run):
        """Does the shares of so many processes, one after another, without putting them together."""

        def shares(count, **options):
            for rank in range(count):
                with pytest.raises(Stopped):
                    run(processes=Share(rank, count), **options)

        return shares

    @pytest.mark.parametrize("count", [2, 3, 5])
    def test_give_the_file_of_one(self, run, shares, tmp_path, count):
        expected = run()
        path = tmp_path / "out" / "results.csv"
        whole = path.read_bytes()
        path.unlink()
        shares(count)
        assert len(part_paths(path)) == count
        assert run() == expected
        assert path.read_bytes() == whole
        assert [file.name for file in path.parent.iterdir()] == ["results.csv"]

    @pytest.mark.parametrize("cut", [1, 40, 400])
    def test_nothing_is_lost_of_parts_that_were_cut_and_nothing_twice(self, run, shares, tmp_path, cut):
        run()
        path = tmp_path / "out" / "results.csv"
        whole = path.read_bytes()
        path.unlink()
        shares(2)
        part = part_path(path, 1)
        part.write_bytes(part.read_bytes()[:-cut])
        run()
        assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())

    def test_parts_that_were_put_together_already_change_nothing(self, run, shares, tmp_path):
        shares(2)
        path = tmp_path / "out" / "results.csv"
        begun = {part: part.read_bytes() for part in part_paths(path)}
        run()
        whole = path.read_bytes()
        for part, text in begun.items():
            part.write_bytes(text)
        run()
        assert path.read_bytes() == whole
        assert part_paths(path) == []

    def test_what_is_of_no_sample_any_more_is_kept(self, run, shares, samples, tmp_path):
        shares(2)
        lines = samples.read_text().splitlines()
        samples.write_text("\n".join(lines[1:]))
        run()
        assert {row.id for row in rows_of(tmp_path)} == {"s0", "s1", "s2"}
        assert len({row.key for row in rows_of(tmp_path)}) == len(rows_of(tmp_path)) == 15

    def test_parts_of_another_run_are_refused(self, run, shares, tmp_path):
        shares(2)
        with pytest.raises(ValueError, match=r"results\.csv\.partial-0, line 2: max_new_tokens is 3, not 4"):
            run(max_new_tokens=4)
        assert len(part_paths(tmp_path / "out" / "results.csv")) == 2

    def test_two_runs_at_once_are_refused(self, run):
        def run_again(*_):
            with pytest.raises(ValueError, match=r"another run is writing to .*results\.csv"):
                run()

        run((), progress=run_again)


class TestSheet:
    def test_texts_come_back_as_they_were(self, tmp_path):
        conditions = Conditions("m", 8, "crop")
        sheet = AnswerSheet(tmp_path / "a.csv", conditions)
        odd = ['say "hi", twice', "ein Schlüssel; 钥匙", "", "'=1+1"]
        answers = [
            Answer(f"id,{n}", 0.0, ORIGINAL, text, text, "1", "1", 1, 9, 0.0, 0.125, 0.25, "m", 8, "crop")
            for n, text in enumerate(odd)
        ]
        sheet.append(answers)
        assert list(read_answers(tmp_path / "a.csv")) == answers
        again = AnswerSheet(tmp_path / "a.csv", conditions)
        assert len(again) == 4
        assert ("id,0", 0.0, ORIGINAL) in again
        assert again.original("id,0") == odd[0]
        with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
            assert [row["answer"] for row in csv.DictReader(file)] == odd

    def test_memory_does_not_grow_with_the_answers(self, tmp_path):
        def answer(number, method):
            return Answer(f"sample {number}", 0.5, method, "a cat", "", "", "1", 2, 9, 0.5, 0.1, 0.2, "m", 8, "crop")

        sheet = AnswerSheet(tmp_path / "a.csv", Conditions("m", 8, "crop"))
        sheet.append([answer(0, ORIGINAL)])
        tracemalloc.start()
        for start in range(1, 5001, 500):
            sheet.append([answer(number, ORIGINAL) for number in range(start, start + 500)])
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert held < 5000 * 20  # bytes; a key and an answer take some 700
        assert len(sheet) == 5001
        assert sheet.original("sample 5000") == "a cat"
        assert ("sample 5000", 0.5, "random") not in sheet

    def test_answers_of_several_lines_are_one_line_of_the_file(self, tiny, tmp_path, samples, recipe_for, monkeypatch):
        model, processor = tiny
        monkeypatch.setattr(type(processor.tokenizer), "decode", lambda *args, **kwargs: "one\n two\u2028three ")
        evaluate(model, processor, samples, (), recipe_for, tmp_path / "b.csv", max_new_tokens=1)
        assert {row.answer for row in read_answers(tmp_path / "b.csv")} == {"one two three"}
        assert len((tmp_path / "b.csv").read_text().splitlines()) == 4
