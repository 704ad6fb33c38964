"""mini-llava: scenes and their truths, packing, the optimiser, and questions off its topic."""

from __future__ import annotations

import json
import random
import re

import numpy as np
import pytest
import torch

from app.demo_model import architecture, packing, text
from app.demo_model.batches import CURRICULUM, Batches, phase_at
from app.demo_model.crowded import MOST_OBJECTS, crowded_scene, scene_of
from app.demo_model.evaluate import EASY_VQA, UNSEEN_QUESTIONS, methods_table, table
from app.demo_model.foreign import foreign_picture
from app.demo_model.lookups import OneShape
from app.demo_model.muon import make_optimizers, orthogonalize, warmup_stable_decay
from app.demo_model.offtopic import offtopic_question
from app.demo_model.pictures_pool import normalise
from app.demo_model.questions import KINDS, READING, UNKNOWN_ANSWER, as_typed, ask, describe, questions_about
from app.demo_model.samples import drawn_samples, find_drawn, picture_file, write_items, write_samples
from app.demo_model.scenes import PLACES, Scene, random_scene
from app.demo_model.shapes import COLORS, PLATE, SHAPES, SIGN, plural
from fitprune_core.evaluation.outcomes import AskedQuestion, Given, Outcomes, Side
from fitprune_core.samples.files import read_samples
from tests.mini_llava import every_question


def test_no_question_begins_or_ends_with_a_space():
    assert all(question.text == question.text.strip() for _, question, _ in every_question())


def test_a_seed_decides_the_scene_and_its_pixels():
    first, again, other = random_scene(5), random_scene(5), random_scene(6)
    assert first == again and first != other
    assert np.array_equal(np.asarray(first.draw()), np.asarray(again.draw()))
    assert first.draw(300).size == (300, 300)


@pytest.mark.slow
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
    assert seen == set(KINDS) - set(READING)


def test_a_crowded_scene_is_full_of_codes_and_the_same_for_its_seed():
    first, again, other = crowded_scene(5), crowded_scene(5), crowded_scene(6)
    assert first == again and first != other
    assert np.array_equal(np.asarray(first.draw()), np.asarray(again.draw()))
    for seed in range(60):
        scene = crowded_scene(seed)
        cells = [item.cell for item in scene.objects]
        assert cells == sorted(set(cells)) and 1 <= len(cells) <= MOST_OBJECTS
        assert len(crowded_scene(seed, 2).objects) <= 2
        for item in scene.objects:
            assert len(item.characters()) == len(item.text or item.badge)
            assert not re.search("[A-Z]{2}|^[A-Z]", item.text + item.badge)
            assert len(item.text) == {SIGN: 2, PLATE: 3}.get(item.kind, 0)
            x0, y0, x1, y1 = item.box
            assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
            for _, (left, top, right, bottom) in item.characters():
                reach = 1 / (2 * architecture.GRID) if item.badge else 0  # a badge moves to the middle of a patch
                assert x0 - reach <= left < right <= x1 + reach and y0 - reach <= top < bottom <= y1 + reach
    written = [item for seed in range(60) for item in crowded_scene(seed).objects if item.text or item.badge]
    assert len(written) > 240


def test_every_kind_of_question_can_be_asked_about_a_scene_of_all_colors():
    scene = next(scene for scene in map(crowded_scene, range(10_000)) if len({o.color for o in scene.objects}) == 8)
    for seed in range(200):
        question = ask("presence", scene, random.Random(seed))
        if not any(f"{color} {kind}" in question.text.lower() for color in COLORS for kind in SHAPES):
            continue
        named = [(o.color, o.kind) for o in scene.objects if f"{o.color} {o.kind}" in question.text.lower()]
        assert question.answer == ("yes" if named else "no"), question


def test_a_question_picks_out_one_text_and_its_answer_stands_there():
    seen = set()
    for seed in range(60):
        scene, rng = crowded_scene(seed), random.Random(seed)
        for kind in (*READING, "absent"):
            question = ask(kind, scene, rng)
            if question is None:
                continue
            words = question.text.lower().replace("middle", "center")
            said = {item.text or item.badge for item in scene.objects if _is_named(item, words)}
            if kind != "absent":
                assert said == {question.answer}, question
            elif "sign" in words or "plate" in words:
                assert not said and question.answer.endswith(("sign", "plate"))
            seen.add(kind)
    assert seen == {*READING, "absent"}


def _is_named(item, words: str) -> bool:
    """Whether a question that names one sign, plate or object may mean this one."""
    place = next((place for place in sorted(PLACES, key=len, reverse=True) if f"the {place}" in words), None)
    kind = next((kind for kind in SHAPES if re.search(rf"\b{kind}\b", words)), None)
    color = next((color for color in COLORS if f"{color} " in words), None)
    return place in (None, item.place) and kind in (None, item.kind) and color in (None, item.color)


def test_a_picture_of_nothing_is_the_same_for_its_seed():
    first, again, other = foreign_picture(3), foreign_picture(3), foreign_picture(4)
    assert np.array_equal(np.asarray(first), np.asarray(again))
    assert not np.array_equal(np.asarray(first), np.asarray(other))
    assert all(foreign_picture(seed, 60).size == (60, 60) for seed in range(20))


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


@pytest.mark.slow
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


def test_curriculum_starts_with_few_objects_here_and_there_and_ends_with_all():
    assert {1, MOST_OBJECTS} <= set(phase_at(0).most)
    assert phase_at(1_000).most == CURRICULUM[-1].most and phase_at(100_000) == CURRICULUM[-1]
    assert CURRICULUM[-1].most == (MOST_OBJECTS,)
    assert all(sum(phase.shares.values()) == pytest.approx(1) for phase in CURRICULUM)


@pytest.mark.slow
def test_a_step_draws_every_kind_of_picture_and_the_same_for_the_same_number(easy_vqa):
    made = Batches(seed=1, batch_size=40, questions=5)
    (pool, shown, turns), (again, _, other) = (made.draw(random.Random(3), CURRICULUM[-1]) for _ in range(2))
    assert np.array_equal(pool.pixels, again.pixels) and turns == other
    assert len(pool.pixels) == len(shown) == len(turns) == 40 and all(turns)
    assert {type(what) for what in shown} == {Scene, OneShape, type(None)}
    assert {scene.is_crowded for scene in shown if isinstance(scene, Scene)} == {True, False}
    for pairs in (turns[i] for i, what in enumerate(shown) if what is None):
        assert {answer for _, answer in pairs} == {UNKNOWN_ANSWER}


def test_a_sample_leads_back_to_its_scene_by_all_that_it_says():
    for number, (scene, question) in enumerate(drawn_samples(40, 7)):
        said = (f"7-{number}", picture_file(number), question.text, question.answer)
        assert find_drawn(*said) == scene
        for at, other in enumerate((f"8-{number}", picture_file(number + 1), "What is it?", "a thing")):
            assert find_drawn(*said[:at], other, *said[at + 1 :]) is None
    assert find_drawn("test-7", "scene-00007.png", "What is it?", "a thing") is None


@pytest.mark.slow
def test_samples_are_the_same_for_a_seed_and_can_be_read_back(tmp_path):
    first, again = (write_samples(tmp_path / name, 13, seed=2) for name in ("a", "b"))
    assert first.read_text() == again.read_text()
    pictures = [folder.read_bytes() for folder in sorted(first.parent.glob("*.png"))]
    assert pictures == [folder.read_bytes() for folder in sorted(again.parent.glob("*.png"))] and len(pictures) == 13
    read = list(read_samples(first))
    kinds = [json.loads(line)["kind"] for line in first.read_text().splitlines()]
    assert kinds == [question.kind for _, question in drawn_samples(13, 2)]
    assert [sample.question for sample in read] == [question.text for _, question in drawn_samples(13, 2)]
    assert len({question.kind for _, question in drawn_samples(80, 2)}) == len(KINDS)


def test_no_question_is_typed_as_nothing():
    assert all(as_typed(text, random.Random(seed)).strip() for seed in range(200) for text in ("?", "??", "what?"))


def test_a_number_stands_for_one_scene_and_both_worlds_have_their_numbers():
    scenes = [scene_of(number) for number in range(20)]
    assert [scene.is_crowded for scene in scenes] == [bool(number % 2) for number in range(20)]
    assert scenes[7] == crowded_scene(7) and scenes[8] == random_scene(8)


def test_the_table_of_an_evaluation_is_recounted_from_its_answers(tmp_path):
    """By hand, from answers that are made up; pictures that are asked about twice are written once."""
    picture = random_scene(3).draw()
    items = [("color", picture, "a?", "red"), ("badge", picture, "b?", "7"), (EASY_VQA, picture, "c?", "yes")]
    assert len(list(write_items(tmp_path, "t", items).parent.glob("*.png"))) == 1
    asked = tuple(AskedQuestion(str(number), kind=kind) for number, (kind, *_) in enumerate(items))
    original = Side("original", 0.0, tuple(Given("", right) for right in (True, True, False)))
    pruned = Side("fitprune", 0.6, tuple(Given("", right) for right in (True, False, True)))
    other = Side("random", 0.6, tuple(Given("", right) for right in (False, True, True)))
    outcomes = Outcomes("m", asked, (original, pruned, other))
    rows = table(outcomes, "fitprune").splitlines()
    assert rows[0] == "| kind | questions | original | 60 % |"
    assert rows[2:] == [
        "| color | 1 | 100.0 | 100.0 |",
        "| badge | 1 | 100.0 | 0.0 |",
        "| all kinds | 2 | 100.0 | 50.0 |",
        "| all reading | 1 | 100.0 | 0.0 |",
        f"| {EASY_VQA} | 1 | 0.0 | 100.0 |",
    ]
    assert methods_table(outcomes).splitlines()[2:] == [
        "| all kinds, 2 questions | fitprune | 100.0 | 50.0 |",
        "|  | random | 100.0 | 50.0 |",
        "| reading, 1 questions | fitprune | 100.0 | 0.0 |",
        "|  | random | 100.0 | 100.0 |",
    ]
