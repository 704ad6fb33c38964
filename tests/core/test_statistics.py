import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fitprune_core import AttentionStatistics, build_inputs, collect_statistics
from fitprune_core.flops import DecoderGeometry
from fitprune_core.statistics import observe
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


def test_totals_are_the_authors():
    official = json.loads(OFFICIAL_FIT.read_text(encoding="utf-8"))
    totals = official["unpruned_attention_sums"]
    model = formula_llava()
    for index, sample in enumerate(official["inputs"]["samples"]):
        sums = observe(model, inputs_of(sample["sample"], len(sample["text_ids"])))[0].sum(-1)
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
        ({"self_attention": np.zeros((3, 5, 2))}, "5 layers"),
        ({"self_attention": np.zeros((1, 2, 2))}, "cross_attention"),
        ({"cross_attention": np.full((3, 2, 2), np.nan)}, "no numbers"),
        ({"cross_attention": np.full((3, 2, 2), -1.0)}, "negative"),
        ({"self_share": np.zeros((2, 2))}, "self_share has shape"),
        ({"cross_share": np.full((3, 2), 2.0)}, "no shares"),
    ],
)
def test_arrays_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        small(**changes)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ValueError, match="nothing.npz"):
        AttentionStatistics.load(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match="text.npz"):
        AttentionStatistics.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    with pytest.raises(ValueError, match="other.npz have no about"):
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
