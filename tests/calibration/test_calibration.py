"""Calibration over a samples file: as `collect_statistics`, whatever happens on the way, and in little memory."""

from __future__ import annotations

import json
import logging
import multiprocessing
import random
import time
import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from transformers import BatchFeature

from fitprune_core import AttentionStatistics, LayerAttention, collect_statistics, load_model
from fitprune_core.calibration import calibration
from fitprune_core.calibration.calibration import Calibration, calibrate
from fitprune_core.samples import journal as journal_module
from fitprune_core.samples import loop
from fitprune_core.samples.files import SamplesFile
from fitprune_core.samples.journal import Journal, journal_path
from fitprune_core.samples.processes import Processes, part_path, part_paths
from tests.marks import slow
from tests.memory import fill_memory_once
from tests.tiny import random_picture, save_tiny_llava, tiny_llava

SIZES = [(48, 36), (24, 70), (60, 24), (48, 36), (30, 30), (90, 30)]


@pytest.fixture(scope="module")
def tiny_next():
    return tiny_llava(family="llava_next")


@pytest.fixture
def samples(tmp_path):
    """A samples file of six pictures of several sizes."""
    lines = []
    for number, size in enumerate(SIZES):
        random_picture(*size, seed=number).save(tmp_path / f"{number}.png")
        lines.append({"id": f"s{number}", "image": f"{number}.png", "question": f"What is {number}?"})
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


@pytest.fixture
def expected(tiny, samples, tmp_path):
    """What `collect_statistics` gives and saves for them, as bytes."""
    pairs = [(random_picture(*size, seed=number), f"What is {number}?") for number, size in enumerate(SIZES)]
    collect_statistics(*tiny, pairs, source=samples.name).save(tmp_path / "expected.npz")
    return (tmp_path / "expected.npz").read_bytes()


@pytest.fixture
def out(tmp_path):
    return tmp_path / "deep" / "out.npz"


class Stopped(Exception):
    """The run was stopped here."""


@pytest.fixture
def stopping(monkeypatch):
    """Makes the model stop at its n-th sample from now on, counted from 0 (None: never); returns the list of calls."""
    observe = calibration.observe

    def stop_at(number):
        calls = []

        def stopping_observe(model, inputs):
            if len(calls) == number:
                raise Stopped
            calls.append(inputs)
            return observe(model, inputs)

        monkeypatch.setattr(calibration, "observe", stopping_observe)
        return calls

    return stop_at


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


class TestOutcome:
    def test_is_that_of_collect_statistics_to_the_byte(self, tiny, samples, expected, out):
        assert calibrate(*tiny, samples, out) == Calibration(6, 0, 36, 36)
        assert out.read_bytes() == expected
        assert [path.name for path in out.parent.iterdir()] == ["out.npz"]

    @pytest.mark.slow
    def test_pictures_of_several_token_counts_are_padded(self, tiny_next, samples, out):
        pairs = [(random_picture(*size, seed=number), f"What is {number}?") for number, size in enumerate(SIZES)]
        collected = collect_statistics(*tiny_next, pairs, source=samples.name)
        done = calibrate(*tiny_next, samples, out)
        found = AttentionStatistics.load(out)
        for name in ("self_attention", "cross_attention", "self_share", "cross_share", "token_counts"):
            assert np.array_equal(getattr(found, name), getattr(collected, name)), name
        assert len(set(found.token_counts.tolist())) > 2
        assert (done.fewest_tokens, done.most_tokens) == (found.token_counts.min(), found.num_visual_tokens)
        assert found.provenance == collected.provenance

    def test_progress_counts_samples(self, tiny, samples, out):
        steps = []
        calibrate(*tiny, samples, out, progress=lambda *step: steps.append(step))
        assert steps == [(number, 6) for number in range(1, 7)]

    @pytest.mark.slow
    def test_memory_does_not_grow_with_the_samples(self, tiny, samples, out, monkeypatch):
        line = samples.read_text().splitlines()[0]
        received, shares = np.zeros((2, 4, 20_000), np.float32), np.zeros((2, 4), np.float32)
        monkeypatch.setattr(calibration, "observe", lambda *_: [(received, shares)])
        peaks = []
        for count in (5, 50):
            samples.write_text("".join(line.replace("s0", f"s{number}") + "\n" for number in range(count)))
            tracemalloc.start()
            calibrate(*tiny, samples, out)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        # Less than one sample's attention, although there are 45 more.
        assert peaks[1] - peaks[0] < received.nbytes / 2


def test_statistics_are_float32_whatever_the_layers_products_are(tiny, monkeypatch):
    own, on = LayerAttention.observed, []
    monkeypatch.setattr(
        LayerAttention, "observed", lambda self: on.append(torch.is_autocast_enabled("cpu")) or own(self)
    )
    with torch.autocast("cpu", torch.bfloat16):
        collect_statistics(*tiny, [(random_picture(), "what?")])
    assert len(on) == 4 and not any(on)


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
    @pytest.mark.parametrize(
        ("first", "then"), [(3, 1), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((1, 2), (2, 3)))]
    )
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


class TestBatches:
    @pytest.mark.slow
    @pytest.mark.parametrize("size", [*slow(2), 3, *slow(8), "auto"])
    def test_give_the_statistics_of_one_at_a_time(self, tiny_next, samples, out, tmp_path, size):
        calibrate(*tiny_next, samples, tmp_path / "one.npz")
        done = calibrate(*tiny_next, samples, out, batch_size=size)
        found, expected = AttentionStatistics.load(out), AttentionStatistics.load(tmp_path / "one.npz")
        assert done.num_samples == 6
        assert np.array_equal(found.token_counts, expected.token_counts)
        assert found.provenance == expected.provenance
        for name in ("self_attention", "cross_attention", "self_share", "cross_share"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-7)

    def test_memory_that_runs_out_halves_the_batch(self, tiny, samples, expected, out, monkeypatch, caplog):
        calls = fill_memory_once(monkeypatch, at=6)  # in the second layer of the second batch
        with caplog.at_level(logging.WARNING):
            assert calibrate(*tiny, samples, out, batch_size=4).num_samples == 6
        assert [record.message for record in caplog.records] == ["memory ran out on 2 prompts at once; going on with 1"]
        assert len(calls) == 4 + 2 + 4 + 4
        found, one = AttentionStatistics.load(out), AttentionStatistics.load(samples.parent / "expected.npz")
        np.testing.assert_allclose(found.self_attention, one.self_attention, rtol=1e-4, atol=1e-7)


class TestBadSamples:
    def test_are_reported_and_left_out(self, tiny, samples, out, caplog, monkeypatch):
        folder = samples.parent
        (folder / "0.png").unlink()
        (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
        lines = samples.read_text().splitlines()
        lines[2] = lines[2].replace("What is 2?", "x" * 100_001)
        samples.write_text("\n".join(lines))
        observe, calls = calibration.observe, []

        def observe_until_memory_is_full(*args):
            calls.append(args)
            if len(calls) == 2:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
            return observe(*args)

        monkeypatch.setattr(calibration, "observe", observe_until_memory_is_full)
        with caplog.at_level(logging.WARNING):
            assert calibrate(*tiny, samples, out) == Calibration(2, 4, 36, 36)
        words = ["0.png", "1.png is damaged", "100,001 characters", "cpu ran out of memory"]
        for record, number, word in zip(caplog.records, (1, 2, 3, 5), words, strict=True):
            assert f"{samples}, line {number}" in record.getMessage()
            assert word in record.getMessage()
        pairs = [(random_picture(*SIZES[number], seed=number), f"What is {number}?") for number in (3, 5)]
        collected = collect_statistics(*tiny, pairs)
        assert np.array_equal(AttentionStatistics.load(out).self_attention, collected.self_attention)

    @pytest.mark.slow
    def test_prompts_that_are_too_long_are_left_out(self, samples, out, caplog, tmp_path):
        model, processor = load_model(save_tiny_llava(tmp_path / "short"))
        model.config.text_config.max_position_embeddings = 60
        with pytest.raises(ValueError, match="none of the 6 samples .* the prompt has 6. tokens; the model reads 60"):
            calibrate(model, processor, samples, out)
        assert len(caplog.records) == 6

    def test_attention_that_is_no_numbers_is_left_out(self, tiny, samples, out, caplog, monkeypatch):
        observe, calls = calibration.observe, []

        def overflow_once(*args):
            calls.append(args)
            ((received, shares),) = observe(*args)
            return [(received * (np.nan if len(calls) == 3 else 1), shares)]

        monkeypatch.setattr(calibration, "observe", overflow_once)
        assert calibrate(*tiny, samples, out).left_out == 1
        assert f"{samples}, line 3): its attention overflows in torch.float32" in caplog.text
        assert AttentionStatistics.load(out).num_samples == 5

    def test_nothing_but_bad_samples_is_an_error_that_names_the_first(self, tiny, samples, out):
        for number in range(6):
            (samples.parent / f"{number}.png").write_bytes(b"no picture")
        with pytest.raises(ValueError, match=r"none of the 6 samples in .*samples\.jsonl .*, line 1: .*0\.png is not"):
            calibrate(*tiny, samples, out)
        assert list(out.parent.iterdir()) == []

    def test_are_tried_again_as_long_as_the_run_is_not_done(self, tiny, samples, expected, out, stopping):
        picture = (samples.parent / "0.png").read_bytes()
        (samples.parent / "0.png").unlink()
        stopping(2)
        with pytest.raises(Stopped):
            calibrate(*tiny, samples, out)
        (samples.parent / "0.png").write_bytes(picture)
        stopping(None)
        calibrate(*tiny, samples, out)
        assert out.read_bytes() == expected

    def test_a_broken_line_ends_the_run_before_it_begins(self, tiny, samples, out):
        samples.write_text(samples.read_text() + "{\n")
        with pytest.raises(ValueError, match=r"samples\.jsonl, line 7"):
            calibrate(*tiny, samples, out)
        assert not out.parent.exists()
