"""Calibration that goes on where it was stopped or killed, shares the work, and refuses what was begun otherwise."""

from __future__ import annotations

import multiprocessing
import random
import time
import zipfile

import numpy as np
import pytest
import torch
from transformers import BatchFeature

from fitprune_core import AttentionStatistics, collect_statistics
from fitprune_core.calibration import calibration
from fitprune_core.calibration.calibration import calibrate
from fitprune_core.run import timing
from fitprune_core.samples import loop
from fitprune_core.samples.files import SamplesFile
from fitprune_core.samples.journal import Journal, journal_path
from fitprune_core.samples.processes import part_path, part_paths
from tests.marks import slow
from tests.shares import Meeting, Share, Stopped
from tests.tiny import random_picture, tiny_llava


class TestGoingOn:
    @pytest.mark.parametrize("number", [*slow(0, 1), 5])
    def test_nothing_is_lost_and_nothing_done_twice(self, tiny, samples, expected, out, stopping, number):
        stopping(number)
        with pytest.raises(Stopped):
            calibrate(*tiny, samples, out)
        assert not out.exists()
        calls, steps = stopping(None), []
        calibrate(*tiny, samples, out, progress=lambda *step: steps.append(step))
        assert len(calls) == 6 - number
        assert out.read_bytes() == expected
        assert steps[0] == (number + 1, 6)

    @pytest.mark.slow
    @pytest.mark.parametrize(("first", "then"), [(3, 1), (1, 2), (2, 3)])
    def test_another_number_of_processes_goes_on(self, tiny, samples, expected, out, stopping, first, then):
        stopping(1)
        for rank in range(first):
            with pytest.raises(Stopped):
                calibrate(*tiny, samples, out, processes=Share(rank, first))
        calls = stopping(None)
        for rank in range(then):
            with pytest.raises(Stopped):
                calibrate(*tiny, samples, out, processes=Share(rank, then))
        assert len(calls) == 5
        assert not out.exists()
        calibrate(*tiny, samples, out)
        assert len(calls) == 5
        assert out.read_bytes() == expected
        assert part_paths(out) == []

    @pytest.mark.parametrize("stops", [*slow(0), 1])
    def test_where_one_process_stops_none_waits_for_it(self, tiny, samples, expected, out, monkeypatch, stops):
        ended = Meeting(monkeypatch, 2).run(
            lambda process: calibrate(*tiny, samples, out, processes=process, should_stop=lambda: process.rank == stops)
        )
        assert [type(each.exception()) for each in ended] == [timing.Stopped] * 2
        assert not out.exists() and part_paths(out) == []
        calibrate(*tiny, samples, out)
        assert out.read_bytes() == expected

    def test_stopped_after_the_last_sample_it_is_done(self, tiny, samples, expected, out):
        done = []
        calibrate(*tiny, samples, out, progress=lambda *step: done.append(step), should_stop=lambda: len(done) == 6)
        assert out.read_bytes() == expected

    @pytest.mark.slow
    def test_killed_at_any_moment(self, tiny, samples, expected, out, monkeypatch):
        found = AttentionStatistics.load(samples.parent / "expected.npz")
        counter = out.parent.parent / "counter"

        def numbered(_, __, sample, **options):
            # As good as without torch, whose threads do not survive a fork.
            return BatchFeature({"input_ids": torch.tensor([[int(sample.id[1:])]])})

        def seen_before(_, inputs):
            number = inputs["input_ids"].item()
            with counter.open("a") as file:
                file.write(f"{number}\n")
            time.sleep(0.012)
            both = [np.stack([getattr(found, f"{kind}_{what}")[number] for kind in ("self", "cross")])
                    for what in ("attention", "share")]  # fmt: skip
            return [both]

        monkeypatch.setattr(loop, "prompt_of", numbered)
        monkeypatch.setattr(calibration, "observe", seen_before)
        fork, dice, kills = multiprocessing.get_context("fork"), random.Random(0), 0
        for longest in [0.01, 0.02, 0.03, 0.04, 0.05, 0.06] * 5 + [60]:
            process = fork.Process(target=calibrate, args=(*tiny, samples, out))
            process.start()
            process.join(dice.uniform(0, longest) if longest < 1 else longest)
            process.kill()
            process.join()
            kills += process.exitcode != 0
            if process.exitcode == 0:
                break
        assert process.exitcode == 0
        assert kills > 3
        assert out.read_bytes() == expected
        assert [path.name for path in out.parent.iterdir()] == ["out.npz"]
        # A sample that was done but not kept yet when the process died is done again; no other is.
        assert len(counter.read_text().splitlines()) <= 6 + kills

    def test_a_journal_that_a_killed_process_left_goes_with_the_records(
        self, tiny, samples, expected, out, monkeypatch
    ):
        def stop(*_):
            raise Stopped

        with monkeypatch.context() as patched, pytest.raises(Stopped):
            patched.setattr(calibration, "_finish", stop)
            calibrate(*tiny, samples, out)
        # Every sample is done, so nothing is written any more that would tidy the journal away.
        journal_path(out).with_name(journal_path(out).name + "-journal").write_bytes(bytes(512))
        calibrate(*tiny, samples, out)
        assert out.read_bytes() == expected
        assert [path.name for path in out.parent.iterdir()] == ["out.npz"]

    def test_records_that_are_left_when_the_file_is_there_change_nothing(
        self, tiny, samples, expected, out, monkeypatch
    ):
        unlink = type(out).unlink

        def stop_at_records(path, **options):
            if path == journal_path(out):
                raise Stopped
            unlink(path, **options)

        monkeypatch.setattr(type(out), "unlink", stop_at_records)
        with pytest.raises(Stopped):
            calibrate(*tiny, samples, out)
        monkeypatch.setattr(type(out), "unlink", unlink)
        assert out.read_bytes() == expected
        calibrate(*tiny, samples, out)
        assert [path.name for path in out.parent.iterdir()] == ["out.npz"]
        assert out.read_bytes() == expected

    def test_records_of_another_run_are_refused(self, tiny, tiny_next, samples, out, stopping):
        stopping(2)
        with pytest.raises(Stopped):
            calibrate(*tiny, samples, out)
        begun = journal_path(out).read_bytes()
        for other, words in (
            (tiny_next, "model LlavaForConditionalGeneration, not LlavaNextForConditionalGeneration"),
            (tiny_llava(seed=1), "weights [0-9a-f]+, not [0-9a-f]+"),
        ):
            with pytest.raises(ValueError, match=rf"out\.npz\.journal was begun with {words}; go on with that, name"):
                calibrate(*other, samples, out)
        random_picture(seed=9).save(samples.parent / "1.png")
        with pytest.raises(ValueError, match="what it holds of sample s1 is of another picture or question"):
            calibrate(*tiny, samples, out)
        samples.write_text(samples.read_text().replace("What", "Which"))
        with pytest.raises(ValueError, match=r"samples file samples\.jsonl \(sha256 .*, not samples\.jsonl"):
            calibrate(*tiny, samples, out)
        assert journal_path(out).read_bytes() == begun

    @pytest.mark.parametrize("name", ["out.npz.journal", "out.npz.partial-0"])
    def test_somebody_elses_file_is_left_alone(self, tiny, samples, out, name):
        out.parent.mkdir()
        (out.parent / name).write_text("notes of mine, no database and a little longer than its header is " * 9)
        with pytest.raises(ValueError, match=rf"{name} is no journal of samples"):
            calibrate(*tiny, samples, out)
        assert (out.parent / name).read_text().startswith("notes")

    @pytest.mark.slow
    def test_two_runs_at_once_are_refused(self, tiny, samples, expected, out):
        def run_again(*_):
            with pytest.raises(ValueError, match=r"another run is writing to .*out\.npz; wait for it, or name another"):
                calibrate(*tiny, samples, out)

        calibrate(*tiny, samples, out, progress=run_again)
        assert out.read_bytes() == expected

    @pytest.mark.slow
    def test_records_that_a_process_still_writes_are_refused(self, tiny, samples, out):
        out.parent.mkdir()
        conditions = calibration._Task(*tiny, SamplesFile(samples), out).conditions()
        with (
            Journal(part_path(out, 1), conditions),
            pytest.raises(OSError, match="partial-1 .* another run is writing"),
        ):
            calibrate(*tiny, samples, out)

    @pytest.mark.slow
    def test_finished_statistics_are_made_anew(self, tiny, samples, expected, out, stopping):
        calibrate(*tiny, samples, out)
        calls = stopping(None)
        calibrate(*tiny, samples, out)
        assert len(calls) == 6
        assert out.read_bytes() == expected

    def test_finished_statistics_of_something_else_are_not_written_over(self, tiny, tiny_next, samples, out, stopping):
        calibrate(*tiny, samples, out)
        there, calls = out.read_bytes(), stopping(None)
        steered, processor = tiny_llava()
        steered.get_decoder().layers[1].register_forward_hook(lambda module, args, output: output * 3)
        for other, words in (
            ((steered, processor), r"weights [0-9a-f]+, not [0-9a-f]+ with hook \S+<lambda> .* on model\..*layers\.1"),
            (tiny_next, "model LlavaForConditionalGeneration, not LlavaNextForConditionalGeneration"),
            (tiny_llava(seed=1), "weights [0-9a-f]+, not [0-9a-f]+"),
        ):
            with pytest.raises(ValueError, match=rf"out\.npz is there, with statistics of {words}; name another file"):
                calibrate(*other, samples, out)
        samples.write_text("\n".join(samples.read_text().splitlines()[:2]))
        with pytest.raises(
            ValueError, match=r"statistics of samples file samples\.jsonl \(sha256 .*, not samples\.jsonl"
        ):
            calibrate(*tiny, samples, out)
        assert not calls and out.read_bytes() == there and not journal_path(out).exists()

    def test_statistics_that_do_not_say_what_they_are_of_are_not_written_over(self, tiny, samples, out):
        collect_statistics(*tiny, [(random_picture(), "what?")]).save(out)  # as an older version's
        there = out.read_bytes()
        with pytest.raises(
            ValueError, match=r"does not say of which samples file its statistics are, as those of an older"
        ):
            calibrate(*tiny, samples, out)
        assert out.read_bytes() == there
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("thesis.docx", "years of work")
        with pytest.raises(ValueError, match=r"statistics \(cannot .*: there is no about\); name another"):
            calibrate(*tiny, samples, out)
        assert zipfile.is_zipfile(out)
