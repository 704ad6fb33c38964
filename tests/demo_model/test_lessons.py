"""What mini-llava is taught besides answers: what names and questions are about."""

from __future__ import annotations

import math
import random

import pytest
import torch

from app.demo_model import architecture, batches, language_stage, packing, pictures_pool, text
from app.demo_model.crowded import crowded_scene
from app.demo_model.labels import ALL_COLORS
from app.demo_model.lettering import CHARACTERS
from app.demo_model.lookups import (
    CODE_FACTS,
    FACTS,
    NOT_ASKED,
    PRESENT_FACTS,
    WRITTEN_FACTS,
    WRITTEN_WEIGHT,
    Lessons,
    OneShape,
    asked_facts,
    caption_facts,
    lookups,
    present_loss,
)
from app.demo_model.questions import READING, ask, describe
from app.demo_model.scenes import PLACES, random_scene
from app.demo_model.shapes import COLORS, PLATE, SHAPES, plural
from tests.mini_llava import every_question


@pytest.fixture
def lesson(untrained_mini, mini_tokenizer):
    """A plain and a crowded picture with captions and questions: the packed batch, and the tower's features."""
    scenes, rng = [random_scene(0), crowded_scene(1)], random.Random(1)
    asked = [batches.questions_of(scene, rng, 4) + [("describe it", describe(scene))] for scene in scenes]
    pool = pictures_pool.drawn_pool(scenes)
    features = architecture.patch_features(untrained_mini.model.vision_tower, pool.batch(slice(None)))
    encoder, image_token = text.Encoder(mini_tokenizer), untrained_mini.config.image_token_id
    return packing.pack(encoder, asked, features.shape[1], image_token, scenes), features


def test_naming_words_look_up_what_the_picture_holds(mini_tokenizer):
    scene, encoder = random_scene(0), text.Encoder(mini_tokenizer)
    counts = [sum(item.kind == kind for item in scene.objects) for kind in SHAPES]
    single = next(item for item in scene.objects if sum(other.kind == item.kind for other in scene.objects) == 1)
    words = f"Where is the {single.color} {single.kind} at the {single.place}?"
    known = {words[: end + 1].split()[-1]: facts for end, facts in lookups(scene, words)}
    assert known[single.kind] == {
        "count": 1, "cell": single.cell + 1, "color": tuple(COLORS).index(single.color) + 1, "character": 0
    }  # fmt: skip
    assert known[single.place.split()[-1]]["kind"] == tuple(SHAPES).index(single.kind) + 1
    asked = encoder.asked_text(words)
    for end, _ in lookups(scene, asked):
        token = encoder.turn(words, "x")[0][encoder.token_at(asked, end)]
        assert mini_tokenizer.decode([token]).strip().endswith(asked[end].lower())
    for kind, count in zip(SHAPES, counts, strict=True):
        assert lookups(scene, f"count the {plural(kind)}")[0][1]["count"] == count


def test_the_end_of_a_relation_knows_how_its_two_objects_lie():
    asked = 0
    for scene, question, words in every_question():
        if question.kind != "relation":
            continue
        facts = asked_facts(scene, question.text)
        right = {"left": facts["across"] == 1, "right": facts["across"] == 2, "higher": facts["upright"] == 1,
                 "above": facts["upright"] == 1, "over": facts["upright"] == 1}  # fmt: skip
        side = next((side for side in right if side in words.split()), None)
        true = right[side] if side else facts["upright"] == 2
        assert question.answer == ("yes" if true else "no"), question
        assert scene.objects[0].cell + 1 <= facts["first"] <= len(PLACES)
        asked += 1
    assert asked > 100


def test_a_color_before_a_name_picks_the_object_where_there_are_several():
    for seed in range(200):
        scene = random_scene(seed)
        for item in scene.objects:
            twins = [other for other in scene.objects if (other.color, other.kind) == (item.color, item.kind)]
            facts = asked_facts(scene, f"where is the {item.color} {item.kind}?")
            assert facts.get("cell") == (item.cell + 1 if len(twins) == 1 else None)


def test_a_picture_of_easy_vqa_is_known_by_its_shape_and_color():
    facts = asked_facts(OneShape("circle", "teal"), "is there a square?")
    assert facts == {
        "kind": pictures_pool.KINDS.index("circle") + 1,
        "color": ALL_COLORS.index("teal") + 1,
    }
    assert asked_facts(OneShape("", "teal"), "x").keys() == {"color"}


def test_what_is_asked_for_by_color_or_place_is_known_by_its_first_character():
    asked = 0
    for seed in range(40):
        scene, rng = crowded_scene(seed), random.Random(seed)
        for kind in READING:
            question = ask(kind, scene, rng)
            if question is None:
                continue
            facts = asked_facts(scene, question.text)
            assert tuple(CHARACTERS)[facts["character"] - 1] == question.answer[0], question
            asked += 1
    assert asked > 60


def test_what_names_a_plate_is_asked_for_all_its_characters_and_later_for_their_order():
    scene = next(scene for scene in map(crowded_scene, range(40)) if any(item.kind == PLATE for item in scene.objects))
    plate = next(item for item in scene.objects if item.kind == PLATE)
    question = f"what is at the {plate.place}"
    ((_, facts),) = [found for found in lookups(scene, question) if "kind" in found[1]]
    assert {name.split()[1] for name in WRITTEN_FACTS if facts[name]} == {*plate.text}
    assert "".join(tuple(CHARACTERS)[facts[name] - 1] for name in CODE_FACTS) == plate.text[1:]
    # The end of the question is asked for the first one alone, and only later.
    assert asked_facts(scene, question).keys() == facts.keys() - {*WRITTEN_FACTS, *CODE_FACTS} | {"cell"}


def test_the_lesson_of_characters_is_a_binary_cross_entropy_for_each():
    head, states = torch.nn.Linear(4, len(CHARACTERS)), torch.randn(1, 2, 4, generator=torch.manual_seed(0))
    said = torch.arange(len(CHARACTERS)) % 5 == 0
    written = torch.stack([said.long(), torch.full(said.shape, NOT_ASKED)])[None]
    likely = head(states[0, 0]).sigmoid()
    loss = present_loss(head, states, written)
    torch.testing.assert_close(loss, -torch.where(said, likely, 1 - likely).log().sum())
    assert present_loss(head, states, written[:, 1:].expand(1, 2, -1)) == 0


def test_what_comes_before_a_character_of_an_answer_knows_it(mini_tokenizer):
    encoder, asked = text.Encoder(mini_tokenizer), 0
    for seed in range(20):
        scene = crowded_scene(seed)
        question = ask("read by place", scene, random.Random(seed))
        if question is None:
            continue
        packed = packing.pack(encoder, [[(question.text, question.answer)]], 256, 3, [scene])
        told, said = packed.facts[0, :, packing.ALL_FACTS.index("character")], packed.targets[0]
        known = [tuple(CHARACTERS)[number - 1] for number in told[said != -100] if number != NOT_ASKED]
        # The end of the question knows the first one, and then each is known in front of it.
        assert "".join(known) == question.answer[0] + question.answer, question
        asked += 1
    assert asked > 10


def test_the_left_of_an_object_is_not_a_place():
    scene = random_scene(0)
    assert asked_facts(scene, "what is at the left of the picture?")["cell"] == PLACES.index("left") + 1
    assert "cell" not in asked_facts(scene, "what is to the left of it?")


def test_nothing_is_known_of_a_picture_of_nothing():
    assert asked_facts(None, "what is at the left?") == {}


@pytest.mark.slow
def test_one_step_teaches_answers_lessons_and_patches(untrained_mini, mini_tokenizer, lesson):
    packed, features = lesson
    lessons = Lessons(architecture.DECODER["hidden_size"])
    loss, lesson_loss = language_stage.language_loss(untrained_mini, lessons, packed, features)
    # What an untrained model pays: about the logarithm of the number of choices.
    assert 0.7 * math.log(len(mini_tokenizer)) < loss.item() < 1.3 * math.log(len(mini_tokenizer))
    of_presence = WRITTEN_WEIGHT * (len(CHARACTERS) + len(PRESENT_FACTS)) * math.log(2)
    assert 1.0 < lesson_loss.item() < 4 * math.log(max(FACTS.values())) + 1.3 * of_presence
    (loss + lesson_loss).backward()
    reached = {name for name, p in lessons.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {"words.heads.weight", "ends.heads.weight", "scenes.heads.weight"} <= reached
    assert {"written.1.weight", "present.1.weight"} <= reached
    assert untrained_mini.model.vision_tower.embeddings.patch_embedding.weight.grad.abs().sum() > 0
    untrained_mini.zero_grad(set_to_none=True)


def test_the_end_of_a_description_is_asked_which_kinds_and_colors_there_are():
    for seed in range(20):
        scene = random_scene(seed)
        at_end, later = caption_facts(scene, describe(scene))
        assert {name for name in PRESENT_FACTS if at_end[name]} == {
            *(f"has a {item.kind}" for item in scene.objects),
            *(f"has {item.color}" for item in scene.objects),
        }
        assert not any(set(PRESENT_FACTS) & set(facts) for _, facts in later)


@pytest.mark.slow
def test_a_caption_is_known_before_it_is_said(mini_tokenizer):
    encoder = text.Encoder(mini_tokenizer)
    for scene in (make(seed) for seed in range(20) for make in (random_scene, crowded_scene)):
        caption = describe(scene)
        at_end, behind = caption_facts(scene, f" {caption}")
        at_commas = [facts for _, facts in behind if "cell" in facts]
        assert len(at_commas) == len(scene.objects) - 1
        told = [at_end, *at_commas]
        assert [facts["cell"] - 1 for facts in told] == [item.cell for item in scene.objects]
        assert [pictures_pool.KINDS[facts["kind"] - 1] for facts in told] == [item.kind for item in scene.objects]
        standing = {place for place in PLACES if at_end[f"kind at the {place}"]}
        assert standing == {item.place for item in scene.objects}
        packed = packing.pack(encoder, [[("describe it", caption)]], 256, 3, [scene])
        # What asks for a cell and no count is a comma; a name asks for its count, too.
        cell, count, following = (
            packed.facts[0, :, packing.ALL_FACTS.index(n)] for n in ("cell", "count", "following")
        )
        asked = (cell != NOT_ASKED) & (count == NOT_ASKED) & ~packed.is_late[0]
        written = [mini_tokenizer.decode([token]).strip() for token in packed.ids[0][asked]]
        assert written == [","] * (len(written) - 1) + ["and"] * bool(written)
        assert len(written) == len(scene.objects) - 1
        places = [item.place.split()[-1] for item in scene.objects]
        ends = following != NOT_ASKED
        assert [mini_tokenizer.decode([token]).strip() for token in packed.ids[0][ends]] == places
        assert following[ends].tolist() == [min(number, 2) for number in reversed(range(len(places)))]
