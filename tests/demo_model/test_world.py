"""mini-llava: scenes and their truths, packing, the optimiser, and questions off its topic."""

from __future__ import annotations

import random

import numpy as np
import torch

from app.demo_model import architecture, language_stage, packing, text
from app.demo_model.evaluate import UNSEEN_QUESTIONS
from app.demo_model.muon import make_optimizers, orthogonalize, warmup_stable_decay
from app.demo_model.offtopic import offtopic_question
from app.demo_model.pictures_pool import normalise, scene_labels, scene_pool
from app.demo_model.questions import KINDS, describe, questions_about
from app.demo_model.samples import drawn_samples, write_samples
from app.demo_model.scenes import COLUMNS, PLACES, random_scene
from app.demo_model.shapes import COLORS, SHAPES, plural
from fitprune_core.samples.files import read_samples
from tests.mini_llava import every_question


def test_no_question_begins_or_ends_with_a_space():
    assert all(question.text == question.text.strip() for _, question, _ in every_question())


def test_a_seed_decides_the_scene_and_its_pixels():
    first, again, other = random_scene(5), random_scene(5), random_scene(6)
    assert first == again and first != other
    assert np.array_equal(np.asarray(first.draw()), np.asarray(again.draw()))
    assert first.draw(300).size == (300, 300)


def test_objects_stand_in_their_cells_and_show_their_color():
    for seed in range(60):
        scene = random_scene(seed)
        pixels = np.asarray(scene.draw(192)).astype(int)
        assert 1 <= len(scene.objects) <= 6
        assert [item.cell for item in scene.objects] == sorted({item.cell for item in scene.objects})
        for item in scene.objects:
            x0, y0, x1, y1 = item.box
            assert item.column / 3 <= x0 < x1 <= (item.column + 1) / 3 + 1e-9
            assert item.row / 3 <= y0 < y1 <= (item.row + 1) / 3 + 1e-9
            inside = pixels[round(y0 * 192) : round(y1 * 192), round(x0 * 192) : round(x1 * 192)]
            close = np.abs(inside - np.array(COLORS[item.color])).sum(-1) < 24
            assert close.mean() > 0.04, (seed, item)


def test_counting_and_presence_answers_are_true():
    for scene, question, words in every_question():
        if question.kind == "count all":
            assert question.answer == str(len(scene.objects))
        if question.kind == "count some":
            color = next((color for color in COLORS if f" {color}" in words), None)
            kind = next((kind for kind in SHAPES if f" {plural(kind)}" in words and "objects" not in words), None)
            hits = [o for o in scene.objects if (kind is None or o.kind == kind) and (kind or o.color == color)]
            assert question.answer == str(len(hits)), question
        if question.kind == "presence":
            color = next((color for color in COLORS if f" {color}" in words), None)
            kind = next((kind for kind in SHAPES if f" {kind}" in words), None)
            hits = [o for o in scene.objects if color in (None, o.color) and kind in (None, o.kind)]
            assert question.answer == ("yes" if hits else "no"), question


def test_places_colors_and_relations_are_true():
    seen = set()
    for scene, question, words in every_question():
        at = {item.place: item for item in scene.objects}
        if question.kind == "where":
            assert question.answer in at and f"{at[question.answer].kind}" in words
        if question.kind == "color":
            named = [item for item in scene.objects if item.kind in words.split()] or [
                item for item in scene.objects if f" {item.place}" in words.replace("middle", "center")
            ]
            assert question.answer in {item.color for item in named}, question
        if question.kind == "absent":
            assert question.answer.split()[-1] not in {item.kind for item in scene.objects}
        if question.kind == "relation":
            kinds = [item.kind for item in scene.objects]
            named = [item for item in scene.objects if f" {item.kind}" in words and kinds.count(item.kind) == 1]
            if len(named) == 2:
                first, second = sorted(named, key=lambda item: words.find(f" {item.kind}"))
                side = next(side for side in ("left", "right", "above", "higher", "over", "below", "lower", "under")
                            if side in words)  # fmt: skip
                true = {"left": first.column < second.column, "right": first.column > second.column}.get(
                    side, first.row < second.row if side in ("above", "higher", "over") else first.row > second.row
                )
                assert question.answer == ("yes" if true else "no"), question
        seen.add(question.kind)
    assert seen == set(KINDS)


def test_a_description_names_every_object_at_its_place():
    for seed in range(40):
        scene = random_scene(seed)
        sentence = describe(scene)
        for item in scene.objects:
            assert f"{item.color} {item.kind}" in sentence and f"the {item.place}" in sentence
        assert len({item.place for item in scene.objects} - set(PLACES)) == 0


def test_unseen_offtopic_questions_are_not_among_the_training_ones():
    rng = random.Random(0)
    drawn = {offtopic_question(rng).lower().rstrip("?") for _ in range(20_000)}
    assert not drawn & {question.lower().rstrip("?") for question in UNSEEN_QUESTIONS}


def test_patch_labels_cover_what_the_boxes_cover():
    scene = next(s for s in map(random_scene, range(100)) if any(item.number for item in s.objects))
    labels = scene_labels(scene)
    for item in scene.objects:
        x, y = (item.box[0] + item.box[2]) / 2, (item.box[1] + item.box[3]) / 2
        patch = int(y * architecture.GRID) * architecture.GRID + int(x * architecture.GRID)
        assert labels["cell"][patch] == item.cell + 1
        if item.number:
            assert str(labels["units"][patch] - 1) == item.number[-1]
    row, column = divmod(7, COLUMNS)
    patch = int((row + 0.5) / 3 * 16) * 16 + int((column + 0.5) / 3 * 16)
    assert labels["region"][patch] == 8


def test_any_text_can_be_written_and_case_does_not_matter(mini_tokenizer):
    for words in ("Überraschung 漢字 🙂 \x00", "WHAT COLOR IS THE CAR?", "x" * 500):
        ids = mini_tokenizer(words, add_special_tokens=False).input_ids
        assert mini_tokenizer.decode(ids) == words.lower()
    assert mini_tokenizer.decode(mini_tokenizer(" I don't know", add_special_tokens=False).input_ids) == "I don't know"


def test_training_tokens_are_the_processors_tokens(mini_tokenizer):
    processor, encoder = text.build_processor(mini_tokenizer), text.Encoder(mini_tokenizer)
    for question in questions_about(random_scene(3), 0):
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.text}]}
        prompt = processor.apply_chat_template([message], add_generation_prompt=True)
        ids = processor(images=random_scene(3).draw(), text=prompt)["input_ids"][0]
        visual = [mini_tokenizer.convert_tokens_to_ids("<image>")] * architecture.GRID**2
        assert list(ids) == [*encoder.prefix, *visual, *encoder.turn(question.text, question.answer)[0]]


def test_pool_pixels_are_the_image_processors(mini_tokenizer):
    picture = random_scene(9).draw()
    wanted = text.build_processor(mini_tokenizer).image_processor(picture, return_tensors="pt").pixel_values
    assert torch.allclose(normalise(np.asarray(picture)[None]), wanted, atol=1e-5)


def test_packed_questions_see_the_picture_and_themselves_only(mini_tokenizer, untrained_mini):
    """Packed logits equal those of each question asked alone, through the stock model from pixels on."""
    scene, encoder = random_scene(11), text.Encoder(mini_tokenizer)
    asked = [(q.text, q.answer) for q in questions_about(scene, 1)][:4]
    processor = text.build_processor(mini_tokenizer)
    pixels = processor.image_processor(scene.draw(), return_tensors="pt").pixel_values
    with torch.no_grad():
        features = untrained_mini.model.vision_tower(pixels).last_hidden_state[:, 1:]
        batch = packing.pack(encoder, [asked], features.shape[1], untrained_mini.config.image_token_id)
        logits, mask, _ = packing.answer_logits(untrained_mini, batch, features)
        owner = batch.question_of[mask]
        for number, (question, answer) in enumerate(asked):
            turn, said = encoder.turn(question, answer)
            ids = torch.tensor([[*batch.ids[0, : len(encoder.prefix) + 256].tolist(), *turn, *said[:-1]]])
            alone = untrained_mini(input_ids=ids, pixel_values=pixels).logits[0, -len(said) :]
            assert torch.allclose(logits[owner == number], alone, atol=1e-4)


def test_right_answers_match_greedy_decoding(mini_tokenizer, untrained_mini):
    encoder, target = text.Encoder(mini_tokenizer), "red"
    batch = packing.pack(encoder, [[("a?", target), ("b?", "blue")]], 256, untrained_mini.config.image_token_id)
    mask = batch.targets != -100
    logits = torch.nn.functional.one_hot(batch.targets[mask], len(mini_tokenizer)).float()
    assert packing.right_answers(logits, mask, batch).tolist() == [True, True]
    logits[-1] = 0.0  # the last token of the second answer goes wrong
    assert packing.right_answers(logits, mask, batch).tolist() == [True, False]


def test_pooled_patches_keep_their_places():
    offsets = packing.visual_offsets(64)
    assert packing.visual_offsets(256) == list(range(256))
    assert offsets[:3] == [0, 2, 4] and offsets[8] == 32 and offsets[-1] == 14 * 16 + 14
    features = torch.arange(256.0).reshape(1, 256, 1)
    assert packing.pool_patches(features)[0, 0, 0] == (0 + 1 + 16 + 17) / 4


def test_orthogonalize_brings_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((3, 16, 40), (2, 40, 16)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
        assert values.min() > 0.5 and values.max() < 1.4


def test_every_parameter_has_one_optimizer(untrained_mini):
    optimizers = make_optimizers([untrained_mini.model.language_model], 1e-3)
    held = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in untrained_mini.model.language_model.parameters())


def test_learning_rate_rises_stays_and_falls():
    rates = [warmup_stable_decay(step, 1000) for step in range(1000)]
    assert rates[0] < 0.1 and rates[400] == 1.0 and rates[-1] < 0.01
    assert all(later <= earlier for earlier, later in zip(rates[700:], rates[701:], strict=False))


def test_curriculum_starts_with_one_object_and_ends_with_all():
    assert language_stage.max_objects_at(0.0) == 1
    assert language_stage.max_objects_at(0.5) >= 6
    scenes, pool = scene_pool(range(3))
    assert pool.pixels.shape == (3, 192, 192, 3) and len(scenes) == 3


def test_samples_are_the_same_for_a_seed_and_can_be_read_back(tmp_path):
    first, again = (write_samples(tmp_path / name, 13, seed=2) for name in ("a", "b"))
    assert first.read_text() == again.read_text()
    read = list(read_samples(first))
    assert [sample.question for sample in read] == [question.text for _, question in drawn_samples(13, 2)]
    assert len({question.kind for _, question in drawn_samples(40, 2)}) == len(KINDS)
