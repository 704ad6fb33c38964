"""The local tower: stock CLIP whose weights let a patch see its neighbours only, and what its patches are taught."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from app.demo_model import probe
from app.demo_model.architecture import GRID, build_tower, keep_local, patch_features
from app.demo_model.crowded import crowded_scene
from app.demo_model.drawing import BADGE_PART, PARTS
from app.demo_model.labels import (
    ALL_COLORS,
    NOT_ASKED,
    TARGETS,
    character_labels,
    foreign_labels,
    scene_labels,
    shape_labels,
)
from app.demo_model.lettering import CHARACTERS
from app.demo_model.muon import make_optimizers, step_all
from app.demo_model.pictures_pool import drawn_pool
from app.demo_model.readouts import ReadOuts
from app.demo_model.scenes import random_scene
from app.demo_model.shapes import SHAPES
from app.demo_model.vision_stage import dense_loss
from tests.demo_model.locality import assert_local


@pytest.mark.slow
def test_a_patch_sees_its_neighbours_only_before_and_after_a_step_of_training():
    tower, heads = build_tower(), ReadOuts(128, TARGETS)
    assert_local(tower)
    pool = drawn_pool([crowded_scene(3), random_scene(3)])
    optimizers = make_optimizers([tower, heads], 2e-3)
    for _ in range(2):
        dense_loss(heads(patch_features(tower, pool.batch(slice(None)))), pool.labels).backward()
        step_all(optimizers, 2e-3)
        keep_local(tower)
    assert_local(tower)


def test_the_short_way_through_the_tower_is_the_stock_way(no_grad):
    tower, pixels = build_tower(), drawn_pool([crowded_scene(1), random_scene(2)]).batch(slice(None))
    assert torch.allclose(patch_features(tower, pixels), tower(pixels).last_hidden_state[:, 1:], atol=1e-5)


@pytest.mark.parametrize("make", [random_scene, crowded_scene])
def test_labels_say_what_covers_the_middle_of_each_object(make):
    for scene in map(make, range(30)):
        labels = {name: values.reshape(GRID, GRID) for name, values in scene_labels(scene).items()}
        assert all(values.max() < TARGETS[name] for name, values in labels.items())
        for item in scene.objects:
            x0, y0, x1, y1 = item.box
            rows, columns = (slice(int(low * GRID), int(np.ceil(high * GRID))) for low, high in ((y0, y1), (x0, x1)))
            kinds = {"badge" if n == BADGE_PART else PARTS[n - 1][0] for n in labels["part"][rows, columns].flat if n}
            assert item.kind in kinds and kinds <= {item.kind, "badge", *(other.kind for other in scene.objects)}
            assert ALL_COLORS.index(item.color) + 1 in labels["color"][rows, columns]
            for character, (left, top, right, bottom) in item.characters():
                found = labels["character"][
                    int(top * GRID) : int(np.ceil(bottom * GRID)), int(left * GRID) : int(np.ceil(right * GRID))
                ]
                assert tuple(CHARACTERS).index(character) + 1 in found


def test_a_character_of_a_crowded_scene_is_known_by_the_one_patch_that_shows_it():
    for scene in map(crowded_scene, range(30)):
        labels, squares = character_labels(scene), set()
        for item in scene.objects:
            for character, (left, top, right, bottom) in item.characters():
                row, column = int(top * GRID), int(left * GRID)
                assert (int(bottom * GRID), int(right * GRID)) == (row, column)
                assert labels[row * GRID + column] == tuple(CHARACTERS).index(character) + 1
                squares.add((row, column))
        assert len(squares) == (labels > 0).sum() == sum(len(item.characters()) for item in scene.objects)


def test_empty_ground_has_no_labels_and_an_edge_says_which_side_is_covered():
    labels = scene_labels(next(s for s in map(random_scene, range(50)) if len(s.objects) == 1))
    assert all((values == 0).mean() > 0.7 for values in labels.values())
    picture = np.full((192, 192, 3), 250, np.uint8)
    picture[18:60, 30:90] = (200, 0, 0)
    shape = {name: values.reshape(GRID, GRID) for name, values in shape_labels(picture, "red").items()}
    assert shape["edge"][1, 4] == 12 and shape["edge"][3, 4] == 15 and shape["edge"][3, 2] == 10
    assert shape["color"][3, 4] == ALL_COLORS.index("red") + 1 and shape["part"][3, 4] == NOT_ASKED
    assert shape_labels(picture, "")["color"].max() == NOT_ASKED
    assert all((values == NOT_ASKED).all() for values in foreign_labels().values())


def test_every_part_of_the_picture_book_has_a_number():
    assert len(PARTS) == sum(map(len, SHAPES.values())) == BADGE_PART - 1 < 255


def test_a_probe_is_asked_for_the_characters_of_one_sign():
    for scene in map(crowded_scene, range(20)):
        texts = {item.text for item in scene.objects if item.text}
        own = {patch: number for patch, asked, number in probe.asked_of(scene) if asked == probe.OWN}
        assert own and all(character_labels(scene)[patch] == number for patch, number in own.items())
        for patch, asked, number in probe.asked_of(scene):
            pair = tuple(CHARACTERS)[own[patch] - 1], tuple(CHARACTERS)[number - 1]
            step = {probe.OWN: 0, probe.BESIDE: 1, probe.FURTHER: 2}[asked]
            assert any(pair == (text[at], text[at + step]) for text in texts for at in range(len(text) - step))


def test_a_probe_finds_what_is_there_and_only_that():
    numbers = torch.randint(1, 6, (600,))
    telling = torch.nn.functional.one_hot(numbers, 8).float() @ torch.randn(8, 20) + 0.1 * torch.randn(600, 20)
    silent = torch.randn(600, 20)
    right = {
        name: probe.probe((features[:400], numbers[:400]), (features[400:], numbers[400:]))[0]
        for name, features in (("telling", telling), ("silent", silent))
    }
    assert right["telling"] > 0.95 and right["silent"] < 0.4
