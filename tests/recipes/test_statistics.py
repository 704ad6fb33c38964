import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fitprune_core import AttentionStatistics, build_inputs, calibrate, collect_statistics, fit_recipe
from fitprune_core.calibration.observe import observe
from fitprune_core.calibration.sequential import _Prompts
from fitprune_core.cost.decoder import DecoderGeometry
from tests.fit_statistics import statistics_of
from tests.formula import formula_llava, inputs_of
from tests.memory import fill_memory_once
from tests.tiny import random_picture, tiny_llava

OFFICIAL_FIT = Path(__file__).parents[1] / "data" / "fitprune_official_fit.json"
GEOMETRY = DecoderGeometry(2, 8, 16, 8, 8, 32)


def samples(count: int):
    return [(random_picture(seed=seed), f"what is number {seed}?") for seed in range(count)]


def small(**changes) -> AttentionStatistics:
    values = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    fields = {"self_attention": values, "cross_attention": values + 1, "model": "m", "geometry": GEOMETRY}
    return AttentionStatistics(**{**fields, **changes})


@pytest.mark.parametrize("decoder", ["llama", "mistral", "qwen2"])
def test_statistics_are_the_maps_of_eager_attention_reduced(decoder):
    options = {"decoder": decoder, "num_key_value_heads": 2}
    model, processor = tiny_llava(**options)
    eager, _ = tiny_llava(**options, attention="eager")
    statistics = collect_statistics(model, processor, samples(2))
    for index, (image, question) in enumerate(samples(2)):
        inputs = build_inputs(processor, image, question)
        with torch.no_grad():
            maps = eager(**inputs, output_attentions=True).attentions
        visual = (inputs["input_ids"][0] == model.config.image_token_id).nonzero()[:, 0]
        for layer, attention in enumerate(maps):
            highest = attention[0].max(dim=0).values
            found = statistics.self_attention[index, layer], statistics.cross_attention[index, layer]
            expected = highest[visual][:, visual].mean(0), highest[visual[-1] + 1 :, visual].mean(0)
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-7)
            to_visual = attention[0][..., visual].sum(-1).mean(0)
            shares = to_visual[visual].mean(), to_visual[visual[-1] + 1 :].mean()
            np.testing.assert_allclose(statistics.self_share[index, layer], shares[0], rtol=1e-4)
            np.testing.assert_allclose(statistics.cross_share[index, layer], shares[1], rtol=1e-4)


@pytest.mark.slow
def test_totals_are_the_authors():
    official = json.loads(OFFICIAL_FIT.read_text(encoding="utf-8"))
    totals = official["unpruned_attention_sums"]
    model = formula_llava()
    for index, sample in enumerate(official["inputs"]["samples"]):
        sums = observe(model, inputs_of(sample["sample"], len(sample["text_ids"])))[0][0].sum(-1)
        np.testing.assert_allclose(sums[0], totals["self"][index], rtol=2e-6)
        np.testing.assert_allclose(sums[1], totals["cross"][index], rtol=2e-6)


def test_model_is_as_it_was_and_its_output_too(tiny):
    model, processor = tiny
    inputs = build_inputs(processor, random_picture(), "What?")
    with torch.no_grad():
        before = model(**inputs).logits
        collect_statistics(model, processor, samples(1))
        assert torch.equal(model(**inputs).logits, before)
    assert all("forward" not in vars(module) for module in model.modules())


def test_memory_that_runs_out_is_explained_and_the_next_run_works(monkeypatch):
    model, processor = tiny_llava()
    alone = collect_statistics(model, processor, samples(1))
    fill_memory_once(monkeypatch)
    with pytest.raises(MemoryError, match="cpu ran out of memory on a prompt of [0-9]+ tokens"):
        collect_statistics(model, processor, samples(1))
    assert all("forward" not in vars(module) for module in model.modules())
    assert np.array_equal(collect_statistics(model, processor, samples(1)).self_attention, alone.self_attention)


def test_statistics_are_equal_to_themselves_alone_and_cannot_be_changed():
    one, other = small(), small()
    assert one == one != other and len({one, other, one}) == 2
    for values in (one.self_attention, one.cross_attention, one.token_counts):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1


@pytest.mark.slow
def test_pictures_and_questions_are_read_as_calibrate_reads_them(tiny, tmp_path):
    """Upright, transparency on white, and without the markers of LLaVA's data; as their files are, bit by bit."""
    turned, picture = Image.Exif(), random_picture(48, 36)
    turned[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=turned)
    sample = {"id": "1", "image": "turned.png", "question": "<image>\n What? "}
    (tmp_path / "s.jsonl").write_text(json.dumps(sample))
    calibrate(*tiny, tmp_path / "s.jsonl", tmp_path / "s.npz")
    expected = AttentionStatistics.load(tmp_path / "s.npz")
    pairs = [(Image.open(tmp_path / "turned.png"), sample["question"])]
    upright = [(picture.transpose(Image.Transpose.ROTATE_270), "What?")]
    for found in (collect_statistics(*tiny, pairs), collect_statistics(*tiny, upright)):
        assert np.array_equal(found.self_attention, expected.self_attention)
        assert np.array_equal(found.cross_attention, expected.cross_attention)
    (as_given,), (as_meant,) = (_Prompts(*tiny, each) for each in (pairs, upright))
    assert all(torch.equal(values, as_meant[name]) for name, values in as_given.items())
    with pytest.raises(ValueError, match="the question is empty"):
        collect_statistics(*tiny, [(picture, "  ")])


def test_progress_and_provenance(tiny):
    model, processor = tiny
    steps = []
    statistics = collect_statistics(
        model, processor, samples(2), progress=lambda done, total: steps.append((done, total)), source="two pictures"
    )
    assert steps == [(1, 2), (2, 2)]
    assert statistics.num_samples == 2
    assert statistics.self_attention.shape == (2, 4, model.config.image_seq_length)
    assert statistics.geometry == DecoderGeometry.from_config(model.config)
    assert statistics.provenance["source"] == "two pictures"
    assert statistics.provenance["image_aspect"] == "crop"
    assert statistics.provenance["torch"] == torch.__version__


def test_a_stream_of_samples_has_no_total(tiny):
    model, processor = tiny
    steps = []
    collect_statistics(model, processor, iter(samples(1)), progress=lambda *step: steps.append(step))
    assert steps == [(1, None)]


def test_saved_statistics_come_back(tmp_path):
    statistics = small(provenance={"source": "here"}, self_share=np.full((3, 2), 0.5))
    statistics.save(tmp_path / "deep" / "s.npz")
    loaded = AttentionStatistics.load(tmp_path / "deep" / "s.npz")
    assert np.array_equal(loaded.self_attention, statistics.self_attention)
    assert np.array_equal(loaded.cross_attention, statistics.cross_attention)
    assert np.array_equal(loaded.self_share, statistics.self_share)
    assert loaded.cross_share is None
    assert (loaded.model, loaded.geometry, loaded.provenance) == ("m", GEOMETRY, {"source": "here"})
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["s.npz"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"self_attention": np.zeros((3, 2))}, "shape"),
        ({"provenance": {"schema": "1"}}, "provenance holds 'schema', which the file says by itself"),
        ({"provenance": {"model": "another"}}, "provenance holds 'model'"),
        ({"provenance": {"samples": 3}}, "provenance says 'samples': 3; both must be texts"),
        ({"self_attention": np.zeros((3, 5, 2))}, "5 layers"),
        ({"self_attention": np.zeros((1, 2, 2))}, "cross_attention"),
        ({"cross_attention": np.full((3, 2, 2), np.nan)}, "no numbers"),
        ({"cross_attention": np.full((3, 2, 2), -1.0)}, "negative"),
        ({"self_share": np.zeros((2, 2))}, "self_share has shape"),
        ({"cross_share": np.full((3, 2), 2.0)}, "no shares"),
        ({"token_counts": [2, 2]}, r"shape \(3,\), not int64 of shape \(2,\)"),
        ({"token_counts": [2, 2, 1.5]}, "whole numbers"),
        ({"token_counts": [2, 0, 2]}, "go from 0 to 2"),
        ({"token_counts": [1, 1, 1]}, "go from 1 to 1; they must be from 1 to 2"),
        ({"token_counts": [2, 2, 1]}, "self_attention of sample 2 goes on after its 1 visual tokens"),
    ],
)
def test_arrays_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        small(**changes)


def test_pictures_of_several_sizes_are_padded():
    model, processor = tiny_llava(family="llava_next")
    pairs = [(random_picture(width, height, seed=width), "What?") for width, height in ((48, 36), (24, 70), (60, 24))]
    statistics = collect_statistics(model, processor, pairs)
    counts = statistics.token_counts.tolist()
    assert len(set(counts)) == 3
    assert max(counts) == statistics.num_visual_tokens
    for sample, pair in enumerate(pairs):
        ((received, shares),) = observe(model, build_inputs(processor, *pair))
        for kind, name in enumerate(("self", "cross")):
            row = getattr(statistics, f"{name}_attention")[sample]
            assert np.array_equal(row[:, : counts[sample]], received[kind])
            assert not row[:, counts[sample] :].any()
            assert np.array_equal(getattr(statistics, f"{name}_share")[sample], shares[kind])


def test_token_counts_are_saved_where_there_are_several(tmp_path):
    small().save(tmp_path / "equal.npz")
    with np.load(tmp_path / "equal.npz") as arrays:
        assert "token_counts" not in arrays
        assert json.loads(str(arrays["about"]))["schema"] == 1
    assert AttentionStatistics.load(tmp_path / "equal.npz").token_counts.tolist() == [2, 2, 2]
    values = np.ones((3, 2, 2), np.float32)
    values[1, :, 1] = 0
    unequal = small(self_attention=values, cross_attention=values, token_counts=[2, 1, 2])
    unequal.save(tmp_path / "unequal.npz")
    loaded = AttentionStatistics.load(tmp_path / "unequal.npz")
    assert loaded.token_counts.tolist() == [2, 1, 2]
    assert np.array_equal(loaded.self_attention, values)
    # A version that knows nothing of the counts must not take the padding for tokens.
    with np.load(tmp_path / "unequal.npz") as arrays:
        assert json.loads(str(arrays["about"]))["schema"] == 2


def test_files_are_as_numpy_writes_them(tmp_path):
    small(self_share=np.full((3, 2), 0.5)).save(tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as arrays:
        np.savez_compressed(tmp_path / "again.npz", **arrays)
    assert (tmp_path / "s.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_a_schema_of_the_future_is_named(tmp_path):
    about = np.array(json.dumps({"schema": 3, "model": "m"}))
    np.savez(tmp_path / "new.npz", about=about)
    with pytest.raises(ValueError, match=r"new\.npz: schema is 3; this version reads 1 and 2"):
        AttentionStatistics.load(tmp_path / "new.npz")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ValueError, match="nothing.npz"):
        AttentionStatistics.load(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match="text.npz"):
        AttentionStatistics.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    with pytest.raises(ValueError, match="other.npz: there is no about"):
        AttentionStatistics.load(tmp_path / "other.npz")
    small().save(tmp_path / "cut.npz")
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut.npz"):
        AttentionStatistics.load(tmp_path / "cut.npz")


def test_no_samples_and_no_image_are_refused(tiny):
    model, processor = tiny
    with pytest.raises(ValueError, match="no samples"):
        collect_statistics(model, processor, [])
    with pytest.raises(ValueError, match="one image"):
        observe(model, build_inputs(processor, None, "What?"))


def test_the_first_samples_fit_as_if_there_were_no_others():
    whole = statistics_of(8, 12, 256, seed=3)
    found = whole.first(3)
    alone = AttentionStatistics(
        whole.self_attention[:3], whole.cross_attention[:3], whole.model, whole.geometry,
        whole.self_share[:3], whole.cross_share[:3],
    )  # fmt: skip
    assert fit_recipe(found, 0.5).removed == fit_recipe(alone, 0.5).removed
    assert found.num_samples == fit_recipe(found, 0.5).num_samples == 3
    with pytest.raises(ValueError, match="8 samples, not of 9"):
        whole.first(9)


def test_the_widest_sample_may_be_left_out():
    whole = statistics_of(3, 4, 30, seed=3)
    counts = np.array([20, 12, 30])
    arrays = {}
    for name in ("self_attention", "cross_attention"):
        arrays[name] = getattr(whole, name).copy()
        for sample, count in enumerate(counts):
            arrays[name][sample, :, count:] = 0
    found = replace(whole, **arrays, token_counts=counts).first(2)
    assert found.num_visual_tokens == 20 and found.token_counts.tolist() == [20, 12]
