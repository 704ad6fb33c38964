"""A comparison as a picture and as an animation: what was kept is the picture's own, what was dropped is not."""

from __future__ import annotations

import io
import json
import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from fitprune_core import DecoderGeometry, collect_statistics, fit_recipe, load_model
from fitprune_core.cli.main import main
from fitprune_core.report import drawing as drawn
from fitprune_core.report import picture
from fitprune_core.report.drawing import HERE, MOST_LAYERS, MOST_TOKENS, LayerDrawing, describe_layer, picture_of
from fitprune_core.report.export import VIEW, exported, to_entries
from fitprune_core.report.lettering import font_for, lines_of
from fitprune_core.report.reading import read_export
from fitprune_core.run.answer import Way
from fitprune_core.run.comparison import compare
from tests.families.qwen_vl import save_tiny_qwen
from tests.marks import slow
from tests.tiny import random_picture, save_tiny_llava

WRITERS = {
    "one view": save_tiny_llava,
    "tiles": partial(save_tiny_llava, family="llava_next"),
    "merged": partial(save_tiny_qwen, kind="qwen2_vl"),
}


@pytest.fixture(scope="module", params=["one view", *slow("tiles", "merged")])
def made(request, tmp_path_factory):
    """A comparison of a wide picture, and the object that is exported of it."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    WRITERS[request.param](folder)
    model, processor = load_model(folder, device="cpu")
    image = random_picture(300, 200, seed=4)
    statistics = collect_statistics(model, processor, [(image, "What?")])
    recipe = fit_recipe(statistics, 0.5)
    comparison = compare(model, processor, image, "Où est-il, 猫?", recipe, max_new_tokens=2, repeats=0)
    return comparison, to_entries(comparison, image, DecoderGeometry.from_config(model.config))


def inside(frame: Image.Image, box) -> np.ndarray:
    """The pixels of a token, without the edges that it may share with a tile."""
    left, top, right, bottom = box
    return np.asarray(frame.crop((left + 2, top + 2, right - 2, bottom - 2)), np.int32)


@pytest.mark.slow
def test_kept_tokens_are_the_pictures_own_and_dropped_ones_are_not(made):
    comparison, entries = made
    drawing = LayerDrawing(entries)
    whole, placed = drawing.frame(None), [n for n, box in enumerate(comparison.layout.boxes) if box]
    changed = []
    for layer, kept in enumerate(comparison.kept):
        frame = drawing.frame(layer)
        for token in placed:
            before, after = (inside(each, drawing.box_of(token)) for each in (whole, frame))
            assert before.size, "the token is too small to look at"
            if token in kept:
                assert (before == after).all(), (layer, token)
            else:
                changed.append(np.abs(before - after).mean())
    assert len(changed) == sum(len(placed) - len(set(placed) & set(kept)) for kept in comparison.kept) > 0
    assert min(changed) > 10


@pytest.mark.slow
def test_both_sides_are_drawn_where_both_prune(tiny):
    model, processor = tiny
    image = random_picture(120, 120, seed=4)
    recipe = fit_recipe(collect_statistics(model, processor, [(image, "What?")]), 0.5)
    against = Way.of(recipe, "random:seed=1")
    comparison = compare(model, processor, image, "What?", recipe, against=against, max_new_tokens=2, repeats=0)
    drawing = LayerDrawing(to_entries(comparison, image, DecoderGeometry.from_config(model.config)))
    whole = drawing.frame(None)
    for layer in range(drawing.layers):
        frame = drawing.frame(layer)
        for side, kept in enumerate((comparison.against.kept[layer], comparison.kept[layer])):
            boxes = [drawing.box_of(token, side) for token in range(comparison.layout.num_tokens)]
            same = [n for n, box in enumerate(boxes) if (inside(whole, box) == inside(frame, box)).all()]
            assert same == list(kept), (layer, side)
    assert [panel.title for panel in drawing.panels] == ["Random(seed=1) 50 %", "FitPrune 50 %"]
    assert [answer.split(":")[0] for answer in drawing.answers] == ["Random(seed=1) 50 %", "FitPrune 50 %"]


def test_the_picture_itself_is_that_of_the_comparison(made):
    comparison, entries = made
    drawing, (width, height) = LayerDrawing(entries), comparison.layout.image_size
    token = next(n for n, box in enumerate(comparison.layout.boxes) if box)
    left, top, right, bottom = comparison.layout.boxes[token]
    shown = picture_of(entries["trace"])
    across, down = shown.width / width, shown.height / height
    expected = np.asarray(shown.crop((left * across, top * down, right * across, bottom * down)), float).mean((0, 1))
    got = np.asarray(drawing.frame(None).crop(drawing.box_of(token)), float).mean((0, 1))
    assert np.abs(got - expected).max() < 6


@pytest.mark.slow
def test_a_picture_is_the_frame_of_its_layer(made):
    _, entries = made
    drawing = LayerDrawing(entries)
    for layer, shown in ((None, drawing.layers - 1), (0, 0)):
        image = Image.open(io.BytesIO(exported(entries, ".png", layer)))
        assert image.format == "PNG" and image.size == drawing.size
        assert (np.asarray(image.convert("RGB")) == np.asarray(drawing.frame(shown))).all()
    with pytest.raises(ValueError, match=f"no layer {drawing.layers + 1}; the model has {drawing.layers}"):
        exported(entries, ".png", drawing.layers)


@pytest.mark.parametrize("ending", [".gif", ".webp"])
@pytest.mark.slow
def test_an_animation_goes_from_the_picture_through_every_layer(made, ending):
    _, entries = made
    drawing = LayerDrawing(entries)
    film = Image.open(io.BytesIO(exported(entries, ending)))
    assert film.n_frames == drawing.layers + 1 and film.size == drawing.size and film.info.get("loop", 0) == 0
    durations = []
    for number, layer in enumerate([None, *range(drawing.layers)]):
        film.seek(number)
        film.load()
        durations.append(film.info["duration"])
        frame = np.asarray(film.convert("RGB"), float)
        expected = np.asarray(drawing.frame(layer), float)
        # WebP keeps colours at half the size, and the lines over what a layer drops are thin.
        assert np.abs(frame - expected).mean() < (12 if ending == ".webp" else 8), number
    assert durations[-1] == max(durations) > durations[0] > durations[1] and len(set(durations[1:-1])) == 1


@pytest.mark.slow
def test_what_does_not_change_does_not_flicker(made):
    """In a GIF's few colours a kept token has the same dots in every frame."""
    comparison, entries = made
    drawing = LayerDrawing(entries)
    frames = picture.with_one_palette([drawing.frame(layer) for layer in (None, *range(drawing.layers))])
    token = next(n for n in comparison.kept[-1] if comparison.layout.boxes[n])
    first, *others = (inside(frame, drawing.box_of(token)) for frame in frames)
    assert all((first == other).all() for other in others) and len({f.palette.tobytes() for f in frames}) == 1
    film = Image.open(io.BytesIO(exported(entries, ".gif")))
    for number, frame in enumerate(frames):
        film.seek(number)
        assert (np.asarray(film.convert("RGB")) == np.asarray(frame.convert("RGB"))).all(), number
    gone = [n for n, layer in enumerate(comparison.dropped_after) if layer == 0 and comparison.layout.boxes[n]]
    if gone:  # dropped at the first layer, and from the third frame on looking as before
        hidden = [inside(frame, drawing.box_of(gone[0])) for frame in frames[2:]]
        assert all((hidden[0] == other).all() for other in hidden)


def test_tokens_are_counted_as_the_comparison_counts_them(made):
    comparison, entries = made
    total, layers = comparison.layout.num_tokens, len(comparison.kept)
    words = [describe_layer(entries["trace"], layer) for layer in range(layers)]
    for layer, kept in enumerate(comparison.kept):
        assert words[layer].startswith(f"Layer {layer + 1} of {layers}: {len(kept)} of {total} ")
    assert len(LayerDrawing(entries).panels) == len(set(comparison.layout.views) & {"grid", "tile", "base"})


@pytest.mark.slow
def test_a_comparison_that_was_read_back_draws_the_same(made, tmp_path):
    _, entries = made
    (tmp_path / "c.json").write_bytes(exported(entries, ".json"))
    comparison, trace = read_export(tmp_path / "c.json")
    again = {"comparison": comparison.to_json(), "trace": trace}
    assert exported(again, ".png", 1) == exported(entries, ".png", 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda trace: trace.update(tokens=[1] * (MOST_LAYERS + 1)), "layers"),
        (lambda trace: trace.update(boxes=[None] * (MOST_TOKENS + 1)), "visual tokens"),
        (lambda trace: trace.update(width=float("nan")), "its picture is nan x"),
        (lambda trace: trace.update(width=0), "its picture is 0 x"),
        (lambda trace: trace.update(image="data:image/jpeg;base64,AAAA"), "cannot be opened"),
    ],
)
def test_what_cannot_be_drawn_is_told(made, change, words):
    entries = json.loads(json.dumps(made[1]))
    change(entries["trace"])
    with pytest.raises(ValueError, match=words):
        LayerDrawing(entries)


def test_boxes_beyond_the_picture_are_cut(made):
    entries = json.loads(json.dumps(made[1]))
    entries["trace"]["boxes"][0] = [-1e9, -5, 1e9, float("inf")]
    assert LayerDrawing(entries).frame(0).size == LayerDrawing(made[1]).size


def test_what_a_layer_drops_is_framed_and_what_went_before_is_not(made):
    comparison, entries = made
    drawing = LayerDrawing(entries)
    for layer in range(drawing.layers):
        frame = np.asarray(drawing.frame(layer))
        placed = {token for token, box in enumerate(comparison.layout.boxes) if box}
        framed = {token for token in placed if is_framed(frame, drawing, token)}
        assert framed == {token for token in placed if comparison.dropped_after[token] == layer}, layer


def is_framed(frame: np.ndarray, drawing: LayerDrawing, token: int) -> bool:
    """Whether slanted lines in the colour of what a layer drops cross a token."""
    left, top, right, bottom = drawing.box_of(token)
    return bool((frame[top + 3 : bottom - 3, left + 3 : right - 3] == HERE).all(-1).any())


def test_colours_are_those_of_the_browser():
    for path in (VIEW / "page.css", VIEW.parents[2] / "app" / "theme.css"):
        style = path.read_text(encoding="utf-8")
        told = dict(re.findall(r"--fp-(veil|here-veil|hatch|here): ([^;]+);", style))
        assert told["here"] == "#{:02x}{:02x}{:02x}".format(*HERE), path.name
        assert told["veil"] == f"rgba{(*drawn.VEIL, drawn.VEIL_SHARE)}", path.name
        assert told["here-veil"] == f"rgba{(*drawn.VEIL, drawn.HERE_VEIL_SHARE)}", path.name
        assert told["hatch"] == f"rgba{(*drawn.HATCH, drawn.HATCH_SHARE)}", path.name


@pytest.mark.parametrize("text", ["What is it? " * 40, "x" * 900, "ein Wort", "", "猫はどこ" * 50])
@pytest.mark.parametrize("most", [1, 2])
def test_texts_fit(text, most):
    font = font_for(text, 22)
    lines = lines_of(text, font, 300, most)
    assert len(lines) <= most and all(font.getlength(line) <= 300 for line in lines)
    whole = "".join("".join(lines).split()) == "".join(text.split())
    assert whole or lines[-1].endswith("...")


@pytest.mark.slow
def test_the_command_line_draws(tiny_folder, tmp_path, capsys):
    random_picture(seed=4).save(tmp_path / "p.png")
    model, processor = load_model(tiny_folder)
    statistics = collect_statistics(model, processor, [(random_picture(), "What?")])
    fit_recipe(statistics, 0.6).save(tmp_path / "recipe.json")
    command = ["compare", "--model", str(tiny_folder), "--image", str(tmp_path / "p.png"), "--question", "What?"]
    command += ["--recipe", str(tmp_path / "recipe.json"), "--max-new-tokens", "2", "--export"]
    layers = model.config.text_config.num_hidden_layers
    assert main([*command, str(tmp_path / "c.gif")]) == 0
    assert Image.open(tmp_path / "c.gif").n_frames == layers + 1
    assert main([*command, str(tmp_path / "c.json")]) == 0
    comparison, trace = read_export(tmp_path / "c.json")
    assert main([*command, str(tmp_path / "c.png"), "--layer", "2"]) == 0
    expected = LayerDrawing({"comparison": comparison.to_json(), "trace": trace}).frame(1)
    assert (np.asarray(Image.open(tmp_path / "c.png").convert("RGB")) == np.asarray(expected)).all()
    assert main([*command, str(tmp_path / "d.png"), "--layer", str(layers + 1)]) == 2
    assert main([*command, str(tmp_path / "d.gif"), "--layer", "1"]) == 2
    told = capsys.readouterr().err
    assert f"the model has {layers} layers" in told and "--export FILE.png alone" in told
    assert not (tmp_path / "d.png").exists() and not (tmp_path / "d.gif").exists()
