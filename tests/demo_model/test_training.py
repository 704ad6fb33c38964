"""Training mini-llava: it goes on where it stopped, and the program makes a model that answers, from nothing."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from app.demo_model import language_stage, train, transplant, vision_stage
from app.demo_model.architecture import build_model, patch_features
from app.demo_model.checkpoints import steps_done
from app.demo_model.muon import make_optimizers, step_all
from app.demo_model.pictures_pool import drawn_pool
from app.demo_model.scenes import random_scene
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


def test_rows_are_halved_by_their_length():
    turns = [[("x" * length, "y")] for length in (5, 1, 4, 2, 3)]
    short, long = language_stage.halves_by_length(turns)
    assert sorted(short) == [1, 3] and sorted(long) == [0, 2, 4]
    assert language_stage.halves_by_length(turns[:1]) == [[0]]


@pytest.mark.slow
@torch.no_grad()
def test_a_decoder_moves_to_another_tower(untrained_mini, mini_tokenizer, monkeypatch):
    """The new projector gives what least squares can; between models of one tower, what the old one gives."""
    monkeypatch.setattr(transplant, "SCENES", 3)
    torch.manual_seed(5)
    model = build_model(mini_tokenizer)
    explained = transplant.take_decoder(model, untrained_mini, seed=1)
    assert 0.0 < explained < 0.999
    decoders = (made.model.language_model.state_dict() for made in (model, untrained_mini))
    assert all(map(torch.equal, *(state.values() for state in decoders)))
    model.model.vision_tower.load_state_dict(untrained_mini.model.vision_tower.state_dict())
    assert transplant.take_decoder(model, untrained_mini, seed=1) > 0.999
    features = patch_features(model.model.vision_tower, drawn_pool([random_scene(10_000_000)]).batch(slice(None)))
    given, wanted = (made.model.multi_modal_projector(features) for made in (model, untrained_mini))
    assert (given - wanted).norm() < 0.05 * wanted.norm()


@torch.no_grad()
def test_a_shallower_decoder_computes_what_the_first_layers_did(mini_tokenizer):
    torch.manual_seed(5)
    model = build_model(mini_tokenizer).eval()
    ids = torch.arange(5, 25)[None]
    entering = model.model.language_model(ids, output_hidden_states=True).hidden_states[8]
    transplant.keep_first_layers(model, 8)
    after = model.model.language_model(ids).last_hidden_state
    torch.testing.assert_close(after, model.model.language_model.norm(entering))
    assert model.config.text_config.num_hidden_layers == 8
    for count in (6, 9):
        with pytest.raises(ValueError, match=f"{count} layers; the lessons and this decoder allow 7 to 8"):
            transplant.keep_first_layers(model, count)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("share", [0.3, 0.65, 1.0])
def test_a_decoder_drawn_partly_anew_keeps_the_rest_of_every_matrix(mini_tokenizer, share):
    torch.manual_seed(5)
    model = build_model(mini_tokenizer)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    transplant.draw_partly_anew(model, share, seed=4)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    layers = "model.language_model.layers"
    assert changed == {name for name in before if name.startswith(layers) and before[name].ndim == 2}
    for name in changed:
        old, new = before[name].flatten(), after[name].flatten()
        assert float(torch.corrcoef(torch.stack([old, new]))[0, 1]) == pytest.approx((1 - share**2) ** 0.5, abs=0.03)
        assert float(new.std() / old.std()) == pytest.approx(1.0, abs=0.03)
    torch.manual_seed(5)
    again = build_model(mini_tokenizer)
    transplant.draw_partly_anew(again, share, seed=4)
    assert all(map(torch.equal, again.state_dict().values(), after.values()))


@pytest.mark.parametrize("share", [0.0, 1.1, -0.5])
def test_a_share_to_draw_anew_is_one(untrained_mini, share):
    with pytest.raises(ValueError, match=f"the share to draw anew is {share:g}; it is larger than 0 and at most 1"):
        transplant.draw_partly_anew(untrained_mini, share, seed=4)


@pytest.mark.parametrize("option", ["--decoder-layers", "--draw-anew"])
def test_what_changes_a_finished_decoder_needs_one(capsys, option):
    with pytest.raises(SystemExit):
        train.parse(["--run", "nowhere", option, "1"])
    assert f"{option} 1 goes with --start-from" in capsys.readouterr().err.replace("1.0", "1")


@pytest.mark.slow
def test_the_program_trains_from_nothing_and_further(tmp_path, easy_vqa, monkeypatch, caplog):
    caplog.set_level("INFO")
    for stage in (vision_stage, language_stage):
        monkeypatch.setattr(stage, "HELD_OUT_SEEDS", range(1_000_000_000, 1_000_000_005))
    sizes = ["--vision-batch", "10", "--batch", "6", "--questions", "3", "--tower-waits", "1"]
    train.main(["--run", str(tmp_path / "run"), *sizes, "--vision-steps", "2", "--steps", "2"])
    assert all(f"{stage} step 2" in caplog.text for stage in ("vision", "language"))
    further = ["--run", str(tmp_path / "more"), "--start-from", str(tmp_path / "run" / "checkpoint"), "--seed", "2"]
    train.main([*further, *sizes, "--steps", "1", "--decoder-layers", "11", "--draw-anew", "0.5"])
    shallow, _ = load_model(str(tmp_path / "more" / "checkpoint"))
    assert len(shallow.model.language_model.layers) == 11
    again = ["--run", str(tmp_path / "new"), "--decoder-from", str(tmp_path / "run" / "checkpoint"), "--bfloat16"]
    train.main([*again, *sizes, "--vision-steps", "1", "--steps", "1"])
    model, processor = load_model(str(tmp_path / "new" / "checkpoint"))
    inputs = build_inputs(processor, Image.new("RGB", (192, 192)), "What is it?")
    assert_local(model.model.vision_tower)
    assert model.generate(**inputs, max_new_tokens=2).shape[1] == inputs["input_ids"].shape[1] + 2
