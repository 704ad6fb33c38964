"""Calibration over a samples file: as `collect_statistics`, whatever happens on the way, and in little memory."""

from __future__ import annotations

import logging
import tracemalloc

import numpy as np
import pytest
import torch

from fitprune_core import AttentionStatistics, LayerAttention, collect_statistics, load_model
from fitprune_core.calibration import calibration
from fitprune_core.calibration.calibration import Calibration, calibrate
from tests.calibration.sizes import SIZES
from tests.memory import fill_memory_once
from tests.shares import Stopped
from tests.tiny import random_picture, save_tiny_llava


class TestOutcome:
    def test_is_that_of_collect_statistics_to_the_byte(self, tiny, samples, expected, out):
        assert calibrate(*tiny, samples, out) == Calibration(6, 0, 36, 36)
        assert out.read_bytes() == expected
        assert [path.name for path in out.parent.iterdir()] == ["out.npz"]

    def test_no_other_file_is_written_over(self, tiny, samples, out):
        there = samples.read_bytes()
        with pytest.raises(ValueError, match="is read here, and would be written over"):
            calibrate(*tiny, samples, samples)
        with pytest.raises(ValueError, match="is a folder; name a file to write"):
            calibrate(*tiny, samples, samples.parent)
        out.parent.mkdir()
        out.write_text("my thesis")
        with pytest.raises(ValueError, match="is not a file of statistics"):
            calibrate(*tiny, samples, out)
        assert samples.read_bytes() == there and out.read_text() == "my thesis"

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
        assert found.provenance.items() >= collected.provenance.items()

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
            out.unlink(missing_ok=True)  # statistics of other samples
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


class TestBatches:
    @pytest.mark.slow
    @pytest.mark.parametrize("size", [2, 3, 8, "auto"])
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
