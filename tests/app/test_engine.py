"""The engine on a tiny real model: recipes from statistics, a lock, and errors in sentences."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

import fitprune_core as fp
from app.budgets import check_percent
from app.door.uploads import Upload
from app.engine import Engine, Side
from app.pages.compare import create_compare
from app.settings import Settings
from app.showing.presentation import idle_board
from fitprune_core.evaluation.known import Known
from fitprune_core.evaluation.sureness import Sureness
from fitprune_core.models.options import LoadOptions
from fitprune_core.run.comparison import Answered, Comparison, Partial
from tests.memory import fill_memory_once
from tests.tiny import random_picture, save_tiny_llava

pytestmark = pytest.mark.usefixtures("one_round")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def recipes(tiny_folder, tmp_path_factory):
    """A folder of recipes with statistics of the tiny model."""
    samples = [(random_picture(seed=seed), "What is it?") for seed in range(2)]
    folder = tmp_path_factory.mktemp("recipes")
    fp.collect_statistics(*fp.load_model(tiny_folder), samples).save(folder / "tiny-llava" / "statistics.npz")
    return folder


@pytest.fixture(scope="module")
def engine(tiny_folder, recipes):
    return Engine(*fp.load_model(tiny_folder), recipes=recipes, max_new_tokens=3)


@pytest.mark.slow
def test_previews_tell_what_runs(engine):
    preview = engine.preview(40)
    *_, comparison = engine.compare(random_picture(), "What is it?", 40)
    assert isinstance(comparison, Comparison)
    assert [len(kept) for kept in comparison.kept] == preview.tokens
    assert preview.saving == pytest.approx(comparison.achieved_reduction)
    assert len(engine.previews()) == 91


@pytest.mark.slow
def test_a_recipe_of_ones_own_goes_before_the_budget(engine):
    mine, side = engine.recipe_for(70), Side("fitprune", 40, recipe=engine.recipe_for(20))
    *_, comparison = engine.compare(random_picture(), "What is it?", 40, against=side, recipe=mine)
    assert (comparison.recipe, comparison.against.recipe) == (mine, side.recipe)
    assert comparison.removed == engine.recipe_for(70).removed


@pytest.mark.slow
def test_what_is_known_of_its_answers_is_said_of_its_own_alone(engine, monkeypatch):
    """One that was saved elsewhere, by another model, is judged by itself."""
    *_, comparison = engine.compare(random_picture(), "What is it?", 50)
    known = Known(sureness=(Sureness("fitprune", 0.5, (comparison.pruned.margin,) * 50, (True,) * 50),))
    monkeypatch.setattr(engine, "known", known)
    assert "Of 50 answers as sure, 50 were not" in engine.doubts(comparison)[1]
    elsewhere = engine.doubts(replace(comparison, model="another"))
    assert elsewhere[0] == "" and elsewhere[1].startswith("Unsure: ") and "evaluation" not in elsewhere[1]


@pytest.mark.slow
def test_original_streams_first(engine):
    *partials, answered, last = engine.compare(random_picture(), "What is it?", 40)
    assert isinstance(answered, Answered)
    stages = [partial.stage for partial in partials]
    assert isinstance(last, Comparison) and all(isinstance(partial, Partial) for partial in partials)
    assert stages == sorted(stages)


def shown_by(page, picture, shown):
    """The page's last update after a run with the picture."""
    visitor = SimpleNamespace(session_hash="visitor", client=None)

    async def main():
        return [update async for update in page.run(picture, "What is it?", 40, None, shown, visitor)]

    return asyncio.run(main())[-1]


@pytest.fixture
def page(engine, tmp_path):
    """The page's handlers over the real engine, with a picture to ask about."""
    random_picture().save(tmp_path / "picture.png")
    with gr.Blocks():
        page = create_compare(engine)
    return page, partial(shown_by, page, Upload("picture.png", tmp_path / "picture.png"))


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 7])
def test_memory_that_runs_out_is_told_and_the_next_request_works(page, monkeypatch, at):
    page, run = page
    parts = page.parts
    before = run(idle_board(60).model_dump())[parts.shown]
    fill_memory_once(monkeypatch, at)
    last = run(before)
    assert last[parts.notice].kind == "error"
    assert last[parts.notice].text.startswith("The device cpu ran out of memory on a prompt of")
    assert last[parts.board].model_dump() == before and parts.scrubber not in last
    after = run(before)
    assert after[parts.board].state == "done" and after[parts.board].verdict


@pytest.mark.slow
def test_statistics_of_other_pictures_are_warned_about_on_the_page(engine, page, tmp_path):
    page, run = page
    statistics = fp.collect_statistics(engine.model, engine.processor, [(random_picture(), "What is it?")])
    provenance = statistics.provenance | {"image_aspect": "pad"}
    replace(statistics, provenance=provenance).save(tmp_path / "tiny-llava" / "statistics.npz")
    page.engine = Engine(engine.model, engine.processor, recipes=tmp_path, max_new_tokens=3)
    message = run(idle_board(60).model_dump())[page.parts.notice]
    assert message.kind == "warning"
    assert message.text.startswith(
        "The recipe was fitted on pictures of aspect 'pad'; this model gets them as 'crop'. Timing: "
    )


@pytest.mark.slow
def test_a_recipe_of_another_checkpoint_is_warned_about_on_the_page(engine, page, tmp_path):
    page, run = page
    recipe = replace(engine.recipe_for(60), model="somebody/other-llava", procedure="published")
    recipe.save(tmp_path / "tiny-llava" / "published-60.json")
    page.engine = Engine(engine.model, engine.processor, recipes=tmp_path, max_new_tokens=3)
    message = run(idle_board(60).model_dump())[page.parts.notice]
    assert message.kind == "warning"
    assert message.text.startswith(
        "The recipe was fitted on somebody/other-llava and is applied to tiny-llava. Timing: "
    )


def test_statistics_of_another_checkpoint_are_refused(engine, tmp_path):
    statistics = fp.collect_statistics(engine.model, engine.processor, [(random_picture(), "What is it?")])
    replace(statistics, model="somebody/other-llava").save(tmp_path / "tiny-llava" / "statistics.npz")
    with pytest.raises(ValueError, match="are of somebody/other-llava, not of tiny-llava"):
        Engine(engine.model, engine.processor, recipes=tmp_path)


@pytest.mark.slow
def test_a_recipe_of_the_model_itself_is_not(page):
    page, run = page
    message = run(idle_board(60).model_dump())[page.parts.notice]
    assert message.kind == "info" and message.text.startswith("Timing: ")


@pytest.mark.slow
def test_a_recipe_of_another_depth_is_refused(engine, tmp_path):
    deeper = save_tiny_llava(tmp_path / "models" / "tiny-llava", num_layers=5)
    statistics = fp.collect_statistics(*fp.load_model(deeper), [(random_picture(), "What is it?")])
    statistics.save(tmp_path / "tiny-llava" / "statistics.npz")
    with pytest.raises(ValueError, match="of a model of another shape than tiny-llava"):
        Engine(engine.model, engine.processor, recipes=tmp_path)


@pytest.mark.slow
def test_settings_reach_the_model(tiny_folder, recipes):
    loading = LoadOptions(device="cpu", image_aspect="pad", attn_implementation="eager")
    settings = Settings(model=str(tiny_folder), recipes=recipes, loading=loading, max_new_tokens=2)
    engine = Engine.from_settings(settings)
    assert engine.device.endswith("eager")
    *_, comparison = engine.compare(random_picture(), "What is it?", 40)
    assert comparison.layout.aspect == "pad"
    with pytest.raises(ValueError, match="4bit weights need"):
        Engine.from_settings(replace(settings, loading=replace(loading, quantization="4bit")))


@pytest.mark.parametrize(
    ("model", "dtype", "loaded"),
    [("mini-llava", "auto", "float32"), ("mini-llava", "float16", "float16"), ("owner/other", "auto", "auto")],
)
def test_the_embedded_model_keeps_the_numbers_that_its_answers_are_known_of(monkeypatch, model, dtype, loaded):
    """On CUDA other models get float16, which would make it another model than was evaluated and asked beforehand."""

    def load(name, **loading):
        raise ValueError(f"{name} as {loading['dtype']}")

    monkeypatch.setattr("app.engine.load_model", load)
    with pytest.raises(ValueError, match=f"^{model} as {loaded}$"):
        Engine.from_settings(Settings(model=model, loading=LoadOptions(dtype=dtype)))


@pytest.mark.parametrize("value", [-1, 90.5, 95, float("nan"), float("inf"), 10**400, "60", None, True, [60]])
def test_budgets_that_cannot_be(value):
    with pytest.raises(ValueError, match="from 0 to 90"):
        check_percent(value)


@pytest.mark.parametrize("value", [0.6, 0.001, 0.999])
def test_a_share_is_not_taken_for_a_percentage(value):
    with pytest.raises(ValueError, match="60 % is written 60"):
        check_percent(value)
    assert (check_percent(0), check_percent(1), check_percent(0.0)) == (0, 1, 0.0)


def test_a_model_without_statistics_is_refused(engine, tmp_path):
    with pytest.raises(ValueError, match="tiny-llava"):
        Engine(engine.model, engine.processor, recipes=tmp_path)


@pytest.mark.slow
def test_a_model_folder_that_is_not_there_ends_with_one_line_and_status_2(tmp_path):
    done = run_app("--model", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0 and "nowhere" in done.stderr


@pytest.mark.slow
def test_a_port_in_use_ends_with_one_line_and_status_2(tiny_folder, recipes):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_app("--model", str(tiny_folder), "--recipes", str(recipes), "--port", port)
    assert done.returncode == 2
    complaints = [line for line in done.stderr.splitlines() if line.startswith("app.py:")]
    assert complaints == [f"app.py: port {port} on 127.0.0.1 is in use; choose another with --port"]


def run_app(*arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "app.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
