from __future__ import annotations

import csv
import gc
import json
import logging
import tracemalloc
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from fitprune_core import collect_statistics, fit_recipe
from fitprune_core.cost.decoder import visual_flops
from fitprune_core.evaluation import evaluation
from fitprune_core.evaluation.evaluation import evaluate
from fitprune_core.evaluation.table import COLUMNS, ORIGINAL, export
from fitprune_core.models.processors import set_image_aspect
from fitprune_core.run.comparison import compare
from fitprune_core.samples import journal as journal_module
from fitprune_core.samples.journal import Journal, Record, journal_path
from fitprune_core.samples.processes import Processes, part_paths
from tests.memory import fill_memory_once
from tests.tiny import random_picture, tiny_llava

HEADER = (
    "id,reduction,method,answer,expected,correct,agrees,new_tokens,visual_tokens,achieved_reduction,visual_gflops,"
    "total_gflops,model,max_new_tokens,image_aspect,dtype,weights,recipe"
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


def rows_of(tmp_path) -> list[SimpleNamespace]:
    """The lines of the table, as anybody reads it."""
    numbers = {"reduction": float, "new_tokens": int, "visual_tokens": int, "achieved_reduction": float,
               "visual_gflops": float, "total_gflops": float}  # fmt: skip
    with open(tmp_path / "out" / "results.csv", newline="", encoding="utf-8") as file:
        rows = [{name: numbers.get(name, str)(text) for name, text in row.items()} for row in csv.DictReader(file)]
    return [SimpleNamespace(**row, key=(row["id"], row["reduction"], row["method"])) for row in rows]


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
        # The right answers are those of the samples file now; nothing is answered anew for them.
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
        assert run((0.6,), methods=("fitprune",)) == found

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

    def test_a_new_budget_adds_its_rows_only(self, run, tmp_path, monkeypatch):
        run((0.3,), methods=("fitprune",))
        answer, ways = evaluation.answer, []
        monkeypatch.setattr(evaluation, "answer", lambda *args: ways.append(args[3]) or answer(*args))
        run((0.3, 0.6), methods=("fitprune",))
        assert [way.recipe.reduction for way in ways] == [0.6] * 3
        kinds = [(0.0, ORIGINAL), (0.3, "fitprune"), (0.6, "fitprune")]
        assert [row.key for row in rows_of(tmp_path)] == [(f"s{n}", *kind) for n in range(3) for kind in kinds]

    @pytest.mark.parametrize("number", [0, 1, 4, 13])
    def test_a_run_that_was_stopped_goes_on(self, run, tmp_path, monkeypatch, number):
        run()
        path = tmp_path / "out" / "results.csv"
        whole = path.read_bytes()
        path.unlink()
        journal_path(path).unlink()
        answer, calls = evaluation.answer, []

        def stop(*args):
            calls.append(args)
            if len(calls) > number:
                raise Stopped
            return answer(*args)

        with monkeypatch.context() as patched, pytest.raises(Stopped):
            patched.setattr(evaluation, "answer", stop)
            run()
        assert not path.exists()
        calls.clear()
        monkeypatch.setattr(evaluation, "answer", lambda *args: calls.append(args) or answer(*args))
        run()
        assert len(calls) == 15 - number
        assert path.read_bytes() == whole

    def test_an_interrupted_run_leaves_a_table_of_what_there_is(self, run, tmp_path, monkeypatch):
        answer, calls = evaluation.answer, []

        def interrupt(*args):
            calls.append(args)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return answer(*args)

        monkeypatch.setattr(evaluation, "answer", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run()
        assert len(rows_of(tmp_path)) == 3

    @pytest.mark.parametrize("text", ["notes without an end", "answer,id\n1,a key\n", "\x00\n"])
    def test_somebody_elses_file_is_left_alone(self, run, tmp_path, text):
        path = tmp_path / "out" / "results.csv"
        path.parent.mkdir()
        path.write_text(text)
        with pytest.raises(ValueError, match=r"results\.csv is no table of answers"):
            run()
        assert path.read_text() == text

    def test_a_table_without_its_journal_is_not_gone_on_with(self, run, tmp_path):
        run(())
        path = tmp_path / "out" / "results.csv"
        journal_path(path).unlink()
        with pytest.raises(ValueError, match=r"results\.csv is there, but not results\.csv\.journal"):
            run(())
        assert len(rows_of(tmp_path)) == 3


class TestOtherConditions:
    """Old answers are not given for what is new: whatever decides an answer is looked at, and what differs is named."""

    @pytest.fixture
    def again(self, tiny, samples, recipe_for, tmp_path):
        def again(words, *, model=tiny, reductions=(0.6,), recipes=recipe_for, **options):
            out = tmp_path / "out" / "results.csv"
            before = out.read_bytes()
            with pytest.raises(ValueError, match=rf"results\.csv\.journal.*{words}.* remove it to begin anew"):
                evaluate(*model, samples, reductions, recipes, out, **{"max_new_tokens": 3} | options)
            assert out.read_bytes() == before

        return again

    def test_of_the_model(self, run, again):
        run((0.6,), methods=("fitprune",))
        again("was begun with weights [0-9a-f]{16}, not [0-9a-f]{16}", model=tiny_llava(seed=1))
        again("was begun with model LlavaFor.*, not LlavaNext", model=tiny_llava(family="llava_next"))
        model, processor = tiny_llava()
        again("was begun with dtype torch.float32, not torch.bfloat16", model=(model.bfloat16(), processor))

    def test_of_the_processor(self, run, again, tiny):
        run((0.6,), methods=("fitprune",))
        model, processor = tiny_llava()
        set_image_aspect(processor, model.config, "pad")
        again("was begun with image_aspect crop, not pad", model=(model, processor))
        processor = tiny_llava()[1]
        processor.chat_template = processor.chat_template.replace("ASSISTANT", "YOU")
        again("was begun with processor", model=(tiny[0], processor))

    def test_of_options_and_recipes(self, run, again, recipe_for):
        run((0.6,), methods=("fitprune",))
        again("was begun with max_new_tokens 3, not 4", max_new_tokens=4)
        heavier = replace(recipe_for(0.6), removed=(0, 0, 0, 30))
        again(r"was begun with recipe of fitprune at 0\.6 .* of 36, not 0 0 0 30 of 36", recipes=lambda _: heavier)

    @pytest.mark.parametrize("what", ["picture", "question"])
    def test_of_a_sample(self, run, again, samples, tmp_path, what):
        run((0.6,), methods=("fitprune",))
        if what == "picture":
            random_picture(seed=9).save(tmp_path / "1.png")
        else:
            samples.write_text(samples.read_text().replace("What is 1?", "Who is 1?"))
        for reductions in ((0.6,), (0.3, 0.6)):
            again("what it holds of sample s1 is of another picture or question", reductions=reductions)

    def test_seeds_are_ways_of_their_own(self, run, tmp_path):
        found = run((0.6,), methods=("random", "random:seed=1"))
        assert [score.method for score in found] == [ORIGINAL, "random", "random(seed=1)"]
        assert len(rows_of(tmp_path)) == 9


class Stopped(Exception):
    """The run was stopped here."""


@dataclass(frozen=True)
class Share(Processes):
    """One of several processes, run alone and stopped when it has done its share, before parts are put together."""

    gathered: list = field(default_factory=list)

    def agree(self, work):
        return work()

    def on_main(self, work):
        if getattr(work, "func", None) is journal_module._gather:
            self.gathered.append(work)
            if len(self.gathered) == 2:
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

    @pytest.fixture
    def whole(self, run, tmp_path):
        """The table of one process, as bytes; nothing of it is left."""
        run()
        path = tmp_path / "out" / "results.csv"
        text = path.read_bytes()
        path.unlink()
        journal_path(path).unlink()
        return text

    @pytest.mark.parametrize("count", [2, 3, 5])
    def test_give_the_file_of_one(self, run, shares, whole, tmp_path, count, monkeypatch):
        shares(count)
        path = tmp_path / "out" / "results.csv"
        assert len(part_paths(path)) == count
        monkeypatch.setattr(evaluation, "answer", None)
        assert [score.samples for score in run()] == [3] * 5
        assert path.read_bytes() == whole
        assert sorted(file.name for file in path.parent.iterdir()) == ["results.csv", "results.csv.journal"]

    def test_parts_that_were_put_together_already_change_nothing(self, run, shares, whole, tmp_path):
        shares(2)
        path = tmp_path / "out" / "results.csv"
        begun = {part: part.read_bytes() for part in part_paths(path)}
        run()
        for part, text in begun.items():
            part.write_bytes(text)
        run()
        assert path.read_bytes() == whole
        assert part_paths(path) == []

    def test_what_is_of_no_sample_any_more_comes_last(self, run, samples, tmp_path):
        run()
        lines = samples.read_text().splitlines()
        samples.write_text("\n".join(lines[1:]))
        run()
        assert [row.id for row in rows_of(tmp_path)] == ["s1"] * 5 + ["s2"] * 5 + ["s0"] * 5
        assert rows_of(tmp_path)[-1].expected == "a key"

    def test_parts_of_another_run_are_refused(self, run, shares, tmp_path):
        shares(2)
        (tmp_path / "out" / "results.csv.journal").unlink()
        with pytest.raises(ValueError, match=r"results\.csv\.partial-0 was begun with max_new_tokens 3, not 4"):
            run(max_new_tokens=4)
        assert len(part_paths(tmp_path / "out" / "results.csv")) == 2

    def test_two_runs_at_once_are_refused(self, run):
        def run_again(*_):
            with pytest.raises(ValueError, match=r"another run is writing to .*results\.csv"):
                run()

        run((), progress=run_again)


class TestBatches:
    @pytest.mark.parametrize("size", [2, 3, 8, "auto"])
    def test_give_the_file_of_one_at_a_time(self, run, tmp_path, size):
        run()
        path = tmp_path / "out" / "results.csv"
        whole = path.read_bytes()
        path.unlink()
        journal_path(path).unlink()
        run(batch_size=size)
        assert path.read_bytes() == whole

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

        def refuse(model, processor, prompts, *args):
            if any(prompt["input_ids"].shape[1] == longest for prompt in prompts):
                raise ValueError("this one cannot be")
            return answer(model, processor, prompts, *args)

        samples = tmp_path / "samples.jsonl"
        samples.write_text(samples.read_text().replace("What is 1?", "What is one?"))
        answers = []
        monkeypatch.setattr(evaluation, "answer", lambda *args: answers.append(args[2]) or answer(*args))
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

    def test_memory_does_not_grow_with_the_answers(self, tmp_path):
        peaks = []
        for count in (500, 5000):
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
        assert peaks[1] - peaks[0] < 4500 * 100  # bytes; a record takes some 700

    def test_answers_of_several_lines_are_one_line_of_the_file(self, tiny, tmp_path, samples, recipe_for, monkeypatch):
        model, processor = tiny
        monkeypatch.setattr(type(processor.tokenizer), "decode", lambda *args, **kwargs: "one\n two\u2028three ")
        evaluate(model, processor, samples, (), recipe_for, tmp_path / "out" / "results.csv", max_new_tokens=1)
        assert {row.answer for row in rows_of(tmp_path)} == {"one two three"}
        assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 4
