"""What mini-llava is taught besides answers: what names and questions are about, and where it looks."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from app.demo_model import (
    architecture,
    attention_lesson,
    batches,
    language_stage,
    packing,
    pictures_pool,
    text,
)
from app.demo_model.lookups import FACTS, NOT_ASKED, Lessons, OneShape, asked_facts, caption_facts, lookups
from app.demo_model.pictures_pool import scene_labels
from app.demo_model.questions import describe
from app.demo_model.scenes import PLACES, random_scene
from app.demo_model.shapes import COLORS, SHAPES, plural
from app.demo_model.vision_stage import patch_features
from tests.mini_llava import every_question


@pytest.fixture
def lesson(untrained_mini, mini_tokenizer):
    """Two pictures with questions: the packed batch, the tower's features, and the patches that show something."""
    scenes = [random_scene(seed) for seed in range(2)]
    turns = [batches.questions_of(scene, random.Random(1), 4) for scene in scenes]
    pool = batches.drawn_pool(scenes)
    assert np.array_equal(pool.labels["kind"][1], scene_labels(scenes[1])["kind"])
    features = patch_features(untrained_mini.model.vision_tower, pool.batch(slice(None)))
    encoder, image_token = text.Encoder(mini_tokenizer), untrained_mini.config.image_token_id
    packed = packing.pack(encoder, turns, features.shape[1], image_token, scenes)
    return packed, features, torch.from_numpy(pool.labels["kind"] > 0)


def test_naming_words_look_up_what_the_picture_holds(mini_tokenizer):
    scene, encoder = random_scene(0), text.Encoder(mini_tokenizer)
    counts = [sum(item.kind == kind for item in scene.objects) for kind in SHAPES]
    single = next(item for item in scene.objects if sum(other.kind == item.kind for other in scene.objects) == 1)
    words = f"Where is the {single.color} {single.kind} at the {single.place}?"
    known = {words[: end + 1].split()[-1]: facts for end, facts in lookups(scene, words)}
    assert known[single.kind] == {
        "count": 1, "cell": single.cell + 1, "color": tuple(COLORS).index(single.color) + 1
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
        "color": pictures_pool.ALL_COLORS.index("teal") + 1,
    }
    assert asked_facts(OneShape("", "teal"), "x").keys() == {"color"}


def test_one_step_teaches_answers_lessons_and_patches(untrained_mini, mini_tokenizer, lesson):
    packed, features, _ = lesson
    lessons = Lessons(architecture.DECODER["hidden_size"])
    loss, lesson_loss, _ = language_stage.language_loss(untrained_mini, lessons, packed, features)
    # What an untrained model pays: about the logarithm of the number of choices.
    assert 0.7 * math.log(len(mini_tokenizer)) < loss.item() < 1.3 * math.log(len(mini_tokenizer))
    assert 1.0 < lesson_loss.item() < 3 * math.log(max(FACTS.values()))
    (loss + lesson_loss).backward()
    reached = {name for name, p in lessons.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {"words.heads.weight", "ends.heads.weight", "scenes.heads.weight"} <= reached
    assert untrained_mini.model.vision_tower.embeddings.patch_embedding.weight.grad.abs().sum() > 0
    untrained_mini.zero_grad(set_to_none=True)


def test_a_caption_is_known_before_it_is_said(mini_tokenizer):
    encoder = text.Encoder(mini_tokenizer)
    for seed in range(40):
        scene = random_scene(seed)
        caption = describe(scene)
        at_end, at_commas = caption_facts(scene, f" {caption}")
        assert len(at_commas) == len(scene.objects) - 1
        told = [at_end, *(facts for _, facts in at_commas)]
        assert [facts["cell"] - 1 for facts in told] == [item.cell for item in scene.objects]
        assert [pictures_pool.KINDS[facts["kind"] - 1] for facts in told] == [item.kind for item in scene.objects]
        standing = {place for place in PLACES if at_end[f"kind at the {place}"]}
        assert standing == {item.place for item in scene.objects}
        packed = packing.pack(encoder, [[("describe it", caption)]], 256, 3, [scene])
        asked = (packed.facts[0] != NOT_ASKED).any(-1) & packed.is_late[0]
        written = [mini_tokenizer.decode([token]).strip() for token in packed.ids[0][asked]]
        assert written[1:] == [","] * (len(written) - 2) + ["and"] * (len(written) > 1)


class TestAttention:
    def test_is_read_off_what_fitprune_ranks_by(self, untrained_mini, lesson, monkeypatch, no_grad):
        """The loss from the lesson's own attention equals that from the matrices of eager attention, in loops."""
        packed, features, on_object = lesson
        even_layers, ground_layers = attention_lesson.EVEN_LAYERS, attention_lesson.GROUND_LAYERS
        monkeypatch.setattr(attention_lesson, "EVEN_A_STEP", len(even_layers))
        monkeypatch.setattr(attention_lesson, "GROUND_A_STEP", len(ground_layers))
        _, _, states = packing.answer_logits(untrained_mini, packed, features)
        decoder = untrained_mini.model.language_model
        found = attention_lesson.attention_loss(decoder, packed, states, on_object, random.Random(0)).item()
        uneven, of_text, of_speech, of_late, of_description = [], [], [], [], []
        for picture in range(2):
            for layer, matrix in enumerate(self.matrices(untrained_mini, packed, features)):
                divergence, to_ground = self.figures(matrix[picture], packed, picture, on_object[picture])
                if layer in even_layers:
                    uneven.append(max(0.0, divergence - attention_lesson.EVEN_SLACK))
                if layer in ground_layers:
                    beyond = {t: max(0.0, nats - attention_lesson.GROUND_SLACK) for t, nats in to_ground.items()}
                    of_text += beyond.values()
                    of_speech += [beyond[t] for t in beyond if packed.targets[picture, t] >= 0]
                    of_late += [beyond[t] for t in beyond if packed.is_late[picture, t]]
                    first = [t for t in beyond if packed.segments[picture, t] == 1]
                    end = max(t for t in first if packed.targets[picture, t] >= 0)
                    of_description += [beyond[t] for t in first if packed.is_late[picture, t] or t == end]
        parts = [sum(part) / len(part) for part in (uneven, of_text, of_speech, of_late, of_description)]
        assert min(parts) > 0.1
        assert found == pytest.approx(parts[0] + sum(parts[1:]) / 4, rel=1e-4)

    @staticmethod
    def matrices(model, packed, features):
        """Attention of every layer by transformers' own eager attention, (pictures, heads, T, T) each."""
        config = model.config.text_config
        before, config._attn_implementation = config._attn_implementation, "eager"
        try:
            embedded = model.model.language_model.embed_tokens(packed.ids)
            start = packed.visual_start
            embedded[:, start : start + features.shape[1]] = model.model.multi_modal_projector(features)
            output = model.model.language_model(
                inputs_embeds=embedded, position_ids=packed.positions, attention_mask=packed.attention_mask(),
                use_cache=False, output_attentions=True,
            )  # fmt: skip
        finally:
            config._attn_implementation = before
        return output.attentions

    @staticmethod
    def figures(attention, packed, picture, on_object):
        """Divergence of the importance from an even share on objects, and what each text token pays to the ground."""
        largest, start, count = attention.amax(0).double(), packed.visual_start, len(on_object)
        text = [t for t in range(len(largest)) if packed.segments[picture, t] > 0]
        asking = [t for t in text if packed.targets[picture, t] < 0]
        to_visual = largest[:, start : start + count]
        importance = to_visual[start : start + count].mean(0) * to_visual[asking].mean(0)
        shown = on_object.nonzero().flatten().tolist()
        shares = importance / importance.sum()
        divergence = sum(math.log(1 / len(shown)) - math.log(shares[j]) for j in shown) / len(shown)
        empty = [start + j for j in range(count) if j not in shown]
        return divergence, {t: -math.log(1 - max(attention[:, t, empty].sum(-1))) for t in text}

    def test_is_nothing_where_every_object_gets_its_share(self):
        on_object = torch.tensor([[True, False, True, False]])
        even, away = torch.tensor([[0.5, 1e-9, 0.5, 1e-9]]), torch.tensor([[1e-9, 0.5, 1e-9, 0.5]])
        one = torch.tensor([[1.0, 1e-9, 1e-9, 1e-9]])
        assert attention_lesson.unevenness(even, even, on_object).item() == pytest.approx(0.0, abs=1e-5)
        assert attention_lesson.unevenness(one, even, on_object).item() > 5
        assert attention_lesson.unevenness(away, away, on_object).item() > 5
        heads = torch.stack([one, away / 2], dim=1)[:, :, None]
        assert attention_lesson.to_ground(heads, on_object).item() == pytest.approx(math.log(2), abs=1e-5)
        assert attention_lesson.to_ground(heads[:, :1], on_object).item() == pytest.approx(0.0, abs=1e-5)

    def test_reaches_queries_and_keys(self, untrained_mini, lesson):
        packed, features, on_object = lesson
        _, _, states = packing.answer_logits(untrained_mini, packed, features)
        decoder = untrained_mini.model.language_model
        attention_lesson.attention_loss(decoder, packed, states, on_object, random.Random(0)).backward()
        moved = {name for name, p in decoder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert any("q_proj" in name for name in moved) and any("k_proj" in name for name in moved)
        assert all(p.grad.isfinite().all() for p in decoder.parameters() if p.grad is not None)
        untrained_mini.zero_grad(set_to_none=True)
