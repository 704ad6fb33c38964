"""What an evaluation answers and sums up, one at a time and in batches; and its table."""

from __future__ import annotations

import csv
import gc
import json
import logging
import tracemalloc
from dataclasses import replace
from functools import update_wrapper

import numpy as np
import pytest

from fitprune_core import METHODS
from fitprune_core.cost.decoder import visual_flops
from fitprune_core.evaluation import evaluation
from fitprune_core.evaluation.evaluation import evaluate
from fitprune_core.evaluation.table import COLUMNS, export
from fitprune_core.run.comparison import compare
from fitprune_core.run.results import ORIGINAL
from fitprune_core.samples.journal import Journal, Record, journal_path
from tests.evaluation.rows import HEADER, rows_of
from tests.memory import fill_memory_once
from tests.tiny import random_picture


def counting(module, runs):
    """A module's forward that notes in `runs` that it ran."""
    forward = module.forward
    return update_wrapper(lambda *args, **options: runs.append(1) or forward(*args, **options), forward)


class TestEvaluate:
    def test_every_sample_is_answered_in_every_way(self, run, tmp_path):
        run()
        ways = [(0.0, "original"), (0.3, "fitprune"), (0.3, "random"), (0.6, "fitprune"), (0.6, "random")]
        assert [row.key for row in rows_of(tmp_path)] == [(f"s{n}", *way) for n in range(3) for way in ways]
        assert (tmp_path / "out" / "results.csv").read_text().splitlines()[0] == HEADER

    @pytest.mark.slow
    def test_one_budget_and_one_method_need_no_list(self, run):
        for budget, method in ((np.float32(0.5), METHODS["random"]), (0.5, "random")):
            assert [score.method for score in run(budget, methods=method)] == [ORIGINAL, "random"]

    @pytest.mark.slow
    def test_two_seeds_are_two_ways(self, run, tmp_path):
        scores = run((0.6,), methods=("random", "random:seed=0", "random:seed=1"))
        assert [score.method for score in scores] == [ORIGINAL, "random", "random(seed=1)"]
        before = (tmp_path / "out" / "results.csv").read_bytes()
        run((0.6,), methods=("random:seed=1",))
        assert (tmp_path / "out" / "results.csv").read_bytes() == before

    @pytest.mark.slow
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
            assert float(row.margin) == pytest.approx(ours.margin, abs=1e-3)
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
        # The right answers are those of the samples file now; nothing is answered anew for them.
        (score,) = run(())
        assert [row.correct for row in rows_of(tmp_path)] == ["1", "", "0"]
        assert (score.samples, score.asked, score.accuracy, score.agreement) == (3, 2, 0.5, 1.0)

    @pytest.mark.slow
    def test_scores_sum_the_rows_up(self, run, tiny, tmp_path):
        found = run((0.6, 0.0, 0.6), methods=("fitprune", "fitprune"))
        assert [(score.method, score.reduction) for score in found] == [("original", 0.0), ("fitprune", 0.6)]
        rows = [row for row in rows_of(tmp_path) if row.method == "fitprune"]
        assert found[1].agreement == sum(row.agrees == "1" for row in rows) / 3
        assert found[1].total_gflops == pytest.approx(sum(row.total_gflops for row in rows) / 3)
        assert found[1].achieved_reduction == pytest.approx(0.6, abs=0.004)
        assert found[0].visual_gflops == pytest.approx(visual_flops(tiny[0].config, (0,) * 4, 36) / 1e9)
        assert run((0.6,), methods=("fitprune",)) == found

    def test_progress_counts_samples(self, run):
        steps = []
        run((), progress=lambda *step: steps.append(step))
        assert steps == [(1, 3), (2, 3), (3, 3)]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"methods": ("best",)}, "'best'"),
            ({"methods": ()}, "no method is given"),
            ({"reductions": "0.6"}, "not '0.6'"),
            ({"reductions": None}, "not None"),
            ({"reductions": (0.5, 60)}, "60 % is written 0.6"),
            ({"max_new_tokens": 5000}, "none of the 3 samples"),
            ({"max_new_tokens": "8"}, "max_new_tokens must be a whole number from 1 up, not '8'"),
        ],
    )
    def test_what_cannot_be_is_refused(self, run, tmp_path, options, message):
        with pytest.raises(ValueError, match=message):
            run(**options)

    def test_a_method_that_no_sample_can_be_answered_by_is_refused_before_the_first(self, run, tmp_path, caplog):
        """Not blamed on every sample, which would silence the methods behind it as well."""
        with pytest.raises(ValueError, match="fastv"):
            run((0.3, 0.6), methods=("fastv:layer=3", "fitprune"))
        assert not (tmp_path / "out" / "results.csv").exists() and "left out" not in caplog.text

    def test_recipes_of_another_depth_are_refused(self, run, tiny, samples, recipe_for, tmp_path):
        deeper = replace(recipe_for(0.5), num_layers=5, removed=(0,) * 5)
        with pytest.raises(ValueError, match="5 layers"):
            evaluate(*tiny, samples, [0.5], lambda _: deeper, tmp_path / "x.csv")
        assert not (tmp_path / "x.csv").exists()
        with pytest.raises(ValueError, match="give a function from a share to its recipe"):
            evaluate(*tiny, samples, [0.5], deeper, tmp_path / "x.csv")

    def test_no_other_file_is_written_over(self, tiny, samples, recipe_for, tmp_path):
        there = samples.read_bytes()
        with pytest.raises(ValueError, match="is read here, and would be written over"):
            evaluate(*tiny, samples, [0.5], recipe_for, samples)
        with pytest.raises(ValueError, match="is a folder; name a file to write"):
            evaluate(*tiny, samples, [0.5], recipe_for, tmp_path)
        assert samples.read_bytes() == there


def test_a_model_with_recipes_of_its_own_needs_no_others(tiny, samples, recipe_for, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("fitprune_core.evaluation.evaluation.recipe_source", lambda *_: made.append(1) or recipe_for)
    scores = evaluate(*tiny, samples, 0.5, None, tmp_path / "r.csv", methods="random", max_new_tokens=1)
    assert made and [(score.method, score.reduction) for score in scores] == [("original", 0.0), ("random", 0.5)]


@pytest.mark.slow
def test_a_question_may_be_as_long_as_the_model_reads(tiny, recipe_for, tmp_path):
    """What visitors of a page may ask is bounded there."""
    random_picture().save(tmp_path / "p.png")
    line = {"id": "long", "image": "p.png", "question": "what? " * 400}
    (tmp_path / "samples.jsonl").write_text(json.dumps(line) + "\n")
    scores = evaluate(*tiny, tmp_path / "samples.jsonl", 0.5, recipe_for, tmp_path / "r.csv", max_new_tokens=1)
    assert [score.samples for score in scores] == [1, 1]


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


class TestBatches:
    @pytest.mark.slow
    @pytest.mark.parametrize("size", [2, 3, 8, "auto"])
    def test_give_the_file_of_one_at_a_time(self, run, tmp_path, size):
        run()
        path = tmp_path / "out" / "results.csv"
        whole = path.read_bytes()
        path.unlink()
        journal_path(path).unlink()
        run(batch_size=size)
        assert path.read_bytes() == whole

    @pytest.mark.parametrize(
        ("methods", "seen"), [(("fitprune", "random"), 1), (("fitprune", "visionzip-dominant"), 3)]
    )
    def test_a_batch_of_pictures_is_seen_once_and_for_methods_that_look_into_the_tower(
        self, run, tiny, monkeypatch, methods, seen
    ):
        runs = []
        monkeypatch.setattr(tiny[0].model.vision_tower, "forward", counting(tiny[0].model.vision_tower, runs))
        run((0.3, 0.6), methods=methods, batch_size=3)
        assert len(runs) == seen

    @pytest.mark.slow
    def test_memory_that_runs_out_halves_the_batch(self, run, tmp_path, monkeypatch, caplog):
        run()
        path = tmp_path / "out" / "results.csv"
        whole = path.read_bytes()
        path.unlink()
        journal_path(path).unlink()
        fill_memory_once(monkeypatch)
        with caplog.at_level(logging.WARNING):
            run(batch_size=3)
        assert [record.message for record in caplog.records] == ["memory ran out on 3 prompts at once; going on with 1"]
        assert path.read_bytes() == whole

    def test_one_bad_sample_does_not_take_the_others_with_it(self, run, tmp_path, monkeypatch, caplog):
        answer = evaluation.answer

        def refuse(model, processor, prompts, *args, **options):
            if any(prompt["input_ids"].shape[1] == longest for prompt in prompts):
                raise ValueError("this one cannot be")
            return answer(model, processor, prompts, *args, **options)

        samples = tmp_path / "samples.jsonl"
        samples.write_text(samples.read_text().replace("What is 1?", "What is one?"))
        answers = []
        monkeypatch.setattr(
            evaluation, "answer", lambda *args, **options: answers.append(args[2]) or answer(*args, **options)
        )
        longest = None
        run((), max_new_tokens=2)
        longest = max(prompt["input_ids"].shape[1] for (prompt,) in answers)
        journal_path(tmp_path / "out" / "results.csv").unlink()
        (tmp_path / "out" / "results.csv").unlink()
        monkeypatch.setattr(evaluation, "answer", refuse)
        with caplog.at_level(logging.WARNING):
            run((), batch_size=3)
        assert [row.id for row in rows_of(tmp_path)] == ["s0", "s2"]
        assert "left out sample s1" in caplog.text


class TestTable:
    CONDITIONS = {"model": "m", "max_new_tokens": "8", "image_aspect": "crop", "dtype": "torch.float32", "weights": "0"}

    def notes(self, text, expected=""):
        return {
            "reduction": 0.0, "method": ORIGINAL, "answer": text, "agrees": "1", "new_tokens": 1, "visual_tokens": 9,
            "achieved_reduction": 0.0, "visual_gflops": 0.125, "total_gflops": 0.25, "recipe": "", "expected": expected,
        }  # fmt: skip

    def test_texts_come_back_as_they_were(self, tmp_path):
        odd = ['say "hi", twice', "ein Schlüssel; 钥匙", "", "'=1+1", "x" * 140_000]
        lines = [
            {"id": f"id,{n}", "image": "a.png", "question": "?", "answer": text[:100_000]} for n, text in enumerate(odd)
        ]
        (tmp_path / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
        with Journal(tmp_path / "journal", self.CONDITIONS) as journal:
            journal.add([Record(f"id,{n}", "d", "way", self.notes(text)) for n, text in enumerate(odd)])
            (score,) = export(tmp_path / "a.csv", journal, tmp_path / "samples.jsonl", self.CONDITIONS)
            # Exported again and again: nothing that stands in the table is ever read.
            assert export(tmp_path / "a.csv", journal, tmp_path / "samples.jsonl", self.CONDITIONS) == [score]
        assert (score.samples, score.asked, score.accuracy) == (5, 4, 0.75)
        limit = csv.field_size_limit(200_000)
        try:
            with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        finally:
            csv.field_size_limit(limit)
        assert tuple(rows[0]) == COLUMNS
        assert [row["answer"] for row in rows] == odd
        assert [row["expected"] for row in rows] == [text[:100_000] for text in odd]

    @pytest.mark.slow
    def test_memory_does_not_grow_with_the_answers(self, tmp_path):
        peaks = []
        for count in (200, 2000):
            with (tmp_path / "samples.jsonl").open("w") as file:
                for number in range(count):
                    file.write(json.dumps({"id": f"sample {number}", "image": "a.png", "question": "?"}) + "\n")
            with Journal(tmp_path / f"{count}.journal", self.CONDITIONS) as journal:
                journal.add([Record(f"sample {n}", "d" * 64, "way", self.notes("a cat")) for n in range(count)])
                gc.collect()
                tracemalloc.start()
                (score,) = export(tmp_path / "a.csv", journal, tmp_path / "samples.jsonl", self.CONDITIONS)
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
            assert score.samples == count
        assert peaks[1] - peaks[0] < 1800 * 100  # bytes; a record takes some 700

    def test_answers_of_several_lines_are_one_line_of_the_file(self, tiny, tmp_path, samples, recipe_for, monkeypatch):
        model, processor = tiny
        monkeypatch.setattr(type(processor.tokenizer), "decode", lambda *args, **kwargs: "one\n two\u2028three ")
        evaluate(model, processor, samples, (), recipe_for, tmp_path / "out" / "results.csv", max_new_tokens=1)
        assert {row.answer for row in rows_of(tmp_path)} == {"one two three"}
        assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 4
