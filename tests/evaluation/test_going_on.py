"""Runs that go on where they were stopped, refuse what was begun otherwise, and share the work."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from fitprune_core.evaluation import evaluation
from fitprune_core.evaluation.evaluation import evaluate
from fitprune_core.models.processors import set_image_aspect
from fitprune_core.pruning.methods import Method
from fitprune_core.run.results import ORIGINAL
from fitprune_core.samples.journal import journal_path
from fitprune_core.samples.processes import Processes, part_paths, sole_run
from tests.evaluation.rows import rows_of
from tests.shares import Share, Stopped
from tests.tiny import random_picture, tiny_llava


class TestGoingOn:
    @pytest.mark.slow
    def test_nothing_is_answered_twice(self, run, tmp_path, monkeypatch):
        run((0.3,))
        before = (tmp_path / "out" / "results.csv").read_bytes()
        asked = []
        monkeypatch.setattr(evaluation, "answer", lambda *args, **kwargs: asked.append(args))
        run((0.3,))
        assert not asked
        assert (tmp_path / "out" / "results.csv").read_bytes() == before

    @pytest.mark.slow
    def test_a_new_budget_adds_its_rows_only(self, run, tmp_path, monkeypatch):
        run((0.3,), methods=("fitprune",))
        answer, ways = evaluation.answer, []
        monkeypatch.setattr(
            evaluation, "answer", lambda *args, **kwargs: ways.append(args[3]) or answer(*args, **kwargs)
        )
        run((0.3, 0.6), methods=("fitprune",))
        assert [way.recipe.reduction for way in ways] == [0.6] * 3
        kinds = [(0.0, ORIGINAL), (0.3, "fitprune"), (0.6, "fitprune")]
        assert [row.key for row in rows_of(tmp_path)] == [(f"s{n}", *kind) for n in range(3) for kind in kinds]

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [4, 0, 1, 13])
    def test_a_run_that_was_stopped_goes_on(self, run, tmp_path, monkeypatch, number):
        run()
        path = tmp_path / "out" / "results.csv"
        whole = path.read_bytes()
        path.unlink()
        journal_path(path).unlink()
        answer, calls = evaluation.answer, []

        def stop(*args, **kwargs):
            calls.append(args)
            if len(calls) > number:
                raise Stopped
            return answer(*args, **kwargs)

        with monkeypatch.context() as patched, pytest.raises(Stopped):
            patched.setattr(evaluation, "answer", stop)
            run()
        assert not path.exists()
        calls.clear()
        monkeypatch.setattr(evaluation, "answer", lambda *args, **kwargs: calls.append(args) or answer(*args, **kwargs))
        run()
        assert len(calls) == 15 - number
        assert path.read_bytes() == whole

    def test_an_interrupted_run_leaves_a_table_of_what_there_is(self, run, tmp_path, monkeypatch):
        answer, calls = evaluation.answer, []

        def interrupt(*args, **kwargs):
            calls.append(args)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return answer(*args, **kwargs)

        monkeypatch.setattr(evaluation, "answer", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run()
        assert len(rows_of(tmp_path)) == 3

    @pytest.mark.parametrize("text", ["notes without an end", "answer,id\n1,a key\n", "\x00\n"])
    def test_somebody_elses_file_is_left_alone(self, run, tmp_path, text):
        path = tmp_path / "out" / "results.csv"
        path.parent.mkdir()
        path.write_text(text)
        with pytest.raises(ValueError, match=r"results\.csv is there and is not a table of answers"):
            run()
        assert path.read_text() == text

    def test_a_table_without_its_journal_is_not_gone_on_with(self, run, tmp_path):
        run(())
        path = tmp_path / "out" / "results.csv"
        journal_path(path).unlink()
        with pytest.raises(ValueError, match=r"results\.csv is there, but not results\.csv\.journal"):
            run(())
        assert len(rows_of(tmp_path)) == 3


def test_two_names_of_one_file_share_its_answers(run, tiny, samples, recipe_for, tmp_path, monkeypatch):
    run((0.6,), methods=("fitprune",))
    link, file = tmp_path / "links" / "mine.csv", tmp_path / "out" / "results.csv"
    link.parent.mkdir()
    link.symlink_to(file)
    before = file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "answer", lambda *args, **kwargs: pytest.fail("it was answered before"))
        evaluate(*tiny, samples, 0.6, recipe_for, link, max_new_tokens=3)
    assert file.read_bytes() == before and [each.name for each in link.parent.iterdir()] == ["mine.csv"]
    with sole_run(file, Processes()), pytest.raises(ValueError, match=r"another run is writing to .*mine\.csv; wait"):
        evaluate(*tiny, samples, 0.6, recipe_for, link, max_new_tokens=3)
    assert link.is_symlink() and {each.name for each in file.parent.iterdir()} == {file.name, f"{file.name}.journal"}


@pytest.mark.parametrize("given", [None, 3])
def test_an_output_that_is_no_path_is_refused(tiny, samples, recipe_for, given):
    with pytest.raises(ValueError, match=f"out is {given}; give a path"):
        evaluate(*tiny, samples, 0.6, recipe_for, given)


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

    @pytest.mark.slow
    def test_of_the_model(self, run, again):
        run((0.6,), methods=("fitprune",))
        again("was begun with weights [0-9a-f]{16}, not [0-9a-f]{16}", model=tiny_llava(seed=1))
        again("was begun with model LlavaFor.*, not LlavaNext", model=tiny_llava(family="llava_next"))
        model, processor = tiny_llava()
        again("was begun with dtype torch.float32, not torch.bfloat16", model=(model.bfloat16(), processor))

    @pytest.mark.slow
    def test_of_the_processor(self, run, again, tiny):
        run((0.6,), methods=("fitprune",))
        model, processor = tiny_llava()
        set_image_aspect(processor, model.config, "pad")
        again("was begun with image_aspect crop, not pad", model=(model, processor))
        processor = tiny_llava()[1]
        processor.chat_template = processor.chat_template.replace("ASSISTANT", "YOU")
        again("was begun with processor", model=(tiny[0], processor))

    @pytest.mark.slow
    def test_of_what_ends_an_answer(self, run, again, tmp_path):
        model, processor = tiny_llava()
        model.generation_config.eos_token_id = [7, 1]
        run((0.6,), methods=("fitprune",))
        again("was begun with end_tokens 1, not 1 7", model=(model, processor))
        # A journal from before it was noted goes on.
        with sqlite3.connect(journal_path(tmp_path / "out" / "results.csv")) as database:
            database.execute("DELETE FROM about WHERE name = 'end_tokens'")
        database.close()
        run((0.6,), methods=("fitprune",))

    def test_of_options_and_recipes(self, run, again, recipe_for):
        run((0.6,), methods=("fitprune",))
        again("was begun with max_new_tokens 3, not 4", max_new_tokens=4)
        heavier = replace(recipe_for(0.6), removed=(0, 0, 0, 30))
        again(r"was begun with recipe of fitprune at 0\.6 .* of 36, not 0 0 0 30 of 36", recipes=lambda _: heavier)

    def test_of_a_hook(self, run, again, tmp_path):
        """Steering changes every answer, and no weight; whether it comes or goes."""
        run((0.6,), methods=("fitprune",))
        model, processor = tiny_llava()
        model.get_decoder().layers[1].register_forward_hook(lambda module, args, output: output * 3)
        hook = r"[0-9a-f]{16} with hook \S+<lambda> \([0-9a-f]{16}\) on model\.language_model\.layers\.1"
        again(rf"was begun with weights [0-9a-f]{{16}}, not {hook}", model=(model, processor))

    @pytest.mark.slow
    def test_of_a_hook_that_is_gone(self, samples, recipe_for, again, tmp_path):
        model, processor = tiny_llava()
        model.get_decoder().layers[1].register_forward_hook(lambda module, args, output: output * 3)
        evaluate(model, processor, samples, 0.6, recipe_for, tmp_path / "out" / "results.csv", max_new_tokens=3)
        again(r"was begun with weights \S+ with hook .*layers\.1, not [0-9a-f]{16}; ")

    def test_of_a_method_of_ones_own(self, run, again):
        def mine(sign):
            class Mine(Method):
                name, scores = "mine", "none"

                def importance(self, attention, candidates):
                    return sign * candidates.tokens.float()

            return Mine

        run((0.6,), methods=(mine(1), "fitprune"))
        run((0.6,), methods=(mine(1), "fitprune"))
        code = r"Mine \(code [0-9a-f]{16}\)"
        again(rf"was begun with class of method mine {code}, not {code}", methods=("fitprune", mine(-1)))

    @pytest.mark.slow
    @pytest.mark.parametrize("what", ["picture", "question"])
    def test_of_a_sample(self, run, again, samples, tmp_path, what):
        run((0.6,), methods=("fitprune",))
        if what == "picture":
            random_picture(seed=9).save(tmp_path / "1.png")
        else:
            samples.write_text(samples.read_text().replace("What is 1?", "Who is 1?"))
        for reductions in ((0.6,), (0.3, 0.6)):
            again("what it holds of sample s1 is of another picture or question", reductions=reductions)

    @pytest.mark.slow
    def test_seeds_are_ways_of_their_own(self, run, tmp_path):
        found = run((0.6,), methods=("random", "random:seed=1"))
        assert [score.method for score in found] == [ORIGINAL, "random", "random(seed=1)"]
        assert len(rows_of(tmp_path)) == 9


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
    @pytest.mark.slow
    def test_give_the_file_of_one(self, run, shares, whole, tmp_path, count, monkeypatch):
        shares(count)
        path = tmp_path / "out" / "results.csv"
        assert len(part_paths(path)) == count
        monkeypatch.setattr(evaluation, "answer", None)
        assert [score.samples for score in run()] == [3] * 5
        assert path.read_bytes() == whole
        assert sorted(file.name for file in path.parent.iterdir()) == ["results.csv", "results.csv.journal"]

    @pytest.mark.slow
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

    @pytest.mark.slow
    def test_what_is_of_no_sample_any_more_comes_last(self, run, samples, tmp_path):
        run()
        lines = samples.read_text().splitlines()
        samples.write_text("\n".join(lines[1:]))
        run()
        assert [row.id for row in rows_of(tmp_path)] == ["s1"] * 5 + ["s2"] * 5 + ["s0"] * 5
        assert rows_of(tmp_path)[-1].expected == "a key"

    @pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_may_be_asked_to_stop(run, tmp_path):
    """What was done is in the table; another run does the rest, and no answer is there twice."""
    asked = []
    assert run((0.5,), should_stop=lambda: True) == [] and rows_file(tmp_path) is False
    scores = run((0.5,), should_stop=lambda: asked.append(1) or len(asked) > 1)
    assert {score.samples for score in scores} == {1}
    assert {score.samples for score in run((0.5,))} == {3}
    assert len({row.key for row in rows_of(tmp_path)}) == len(rows_of(tmp_path)) == 9


def rows_file(tmp_path) -> bool:
    return (tmp_path / "out" / "results.csv").exists()
