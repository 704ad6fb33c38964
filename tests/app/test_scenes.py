"""Examples and random scenes, and what is known about them."""

from __future__ import annotations

from app.scenes import is_right, load_examples, new_scene, question_key, true_answer


def test_every_example_has_a_picture_and_a_known_answer():
    examples = load_examples()
    assert len(examples) >= 6
    for example in examples:
        assert example.open().mode == "RGB"
        assert true_answer(example.seed, example.question) is not None
        assert 0 <= example.percent <= 90


def test_a_new_scene_comes_with_a_question_whose_answer_is_known():
    for seed in range(20):
        scene = new_scene(seed)
        assert scene.question.endswith("?")
        assert true_answer(scene.seed, scene.question)


def test_a_new_scene_is_asked_about_with_care():
    for seed in range(40):
        question = new_scene(seed).question
        assert question.count("?") == 1 and question[0].isupper() and not question.isupper(), question
        assert not set(question[:-1]) & set("!.") and question[-2].isalnum(), question


def test_two_new_scenes_differ():
    assert new_scene().seed != new_scene().seed


def test_how_a_question_is_typed_does_not_matter():
    example = next(e for e in load_examples() if "How many" in e.question)
    plain = true_answer(example.seed, example.question)
    for typed in (example.question.upper(), f" Please {example.question[:-1]}... ", f"Hello, {example.question}"):
        assert true_answer(example.seed, typed) == plain
    assert question_key("What is in this image?") == question_key("please what is in the picture")


def test_nothing_is_known_about_other_questions_and_other_pictures():
    assert true_answer(load_examples()[0].seed, "Who painted this?") is None
    assert true_answer(None, "What color is the star?") is None


def test_is_right_forgives_case_and_final_punctuation():
    assert is_right(" Top left. ", "top left")
    assert not is_right("left", "top left")
