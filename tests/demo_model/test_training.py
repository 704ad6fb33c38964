"""Training mini-llava: it goes on where it stopped, and the program makes a model that answers, from nothing."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from app.demo_model import language_stage, train, vision_stage
from app.demo_model.checkpoints import steps_done
from app.demo_model.muon import make_optimizers, step_all
from app.demo_model.training_loop import learn, train_steps
from fitprune_core import build_inputs, load_model
from tests.demo_model.locality import assert_local


class Stopped(Exception):
    pass


class Line:
    """A layer that learns a little in each step, and may be stopped on the way."""

    def __init__(self, folder):
        torch.manual_seed(1)
        self.path, self.layer, self.done = folder / "line.pt", torch.nn.Linear(8, 8), []
        self.optimizers = make_optimizers([self.layer], 1e-2)

    def train(self, steps, stop_at=None):
        def step(number):
            if number == stop_at:
                raise Stopped
            torch.manual_seed(number)
            loss = self.layer(torch.randn(4, 8)).square().sum()
            learn(loss, {"layer": self.layer})
            step_all(self.optimizers, 1e-2)
            self.done.append(number)
            return {"loss": loss}

        train_steps(self.path, {"layer": self.layer}, self.optimizers, steps, step,
                    every=2, shares_right=lambda done: {"steps": done})  # fmt: skip


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    (tmp_path / "other").mkdir()
    straight, stopped, resumed = Line(tmp_path / "other"), Line(tmp_path), Line(tmp_path)
    straight.train(7)
    with pytest.raises(Stopped):
        stopped.train(7, stop_at=5)
    assert steps_done(stopped.path) == 4
    resumed.train(7)
    assert resumed.done == [4, 5, 6]
    assert all(map(torch.equal, resumed.layer.parameters(), straight.layer.parameters()))
    assert steps_done(resumed.path) == 7
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.slow
def test_the_program_trains_from_nothing_and_further(tmp_path, easy_vqa, monkeypatch, caplog):
    caplog.set_level("INFO")
    for stage in (vision_stage, language_stage):
        monkeypatch.setattr(stage, "HELD_OUT_SEEDS", range(1_000_000_000, 1_000_000_005))
    sizes = ["--vision-batch", "10", "--batch", "6", "--questions", "3", "--tower-waits", "1"]
    train.main(["--run", str(tmp_path / "run"), *sizes, "--vision-steps", "2", "--steps", "2"])
    assert all(f"{stage} step 2" in caplog.text for stage in ("vision", "language"))
    further = ["--run", str(tmp_path / "more"), "--start-from", str(tmp_path / "run" / "checkpoint"), "--seed", "2"]
    train.main([*further, *sizes, "--steps", "1"])
    model, processor = load_model(str(tmp_path / "more" / "checkpoint"))
    inputs = build_inputs(processor, Image.new("RGB", (192, 192)), "What is it?")
    assert_local(model.model.vision_tower)
    assert model.generate(**inputs, max_new_tokens=2).shape[1] == inputs["input_ids"].shape[1] + 2
