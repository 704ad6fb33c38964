"""Labels and logits by the positions of the prompt as it was given, against a model that hides what was dropped."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from fitprune_core import build_inputs, prune_visual_tokens
from tests.pruned import batch_of, recipe_of
from tests.reference import reference_logits
from tests.tiny import random_picture, tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")

QUESTIONS = ["what?", "what is in this picture of noise?"]


def answer_labels(ids, count=5):
    """Labels of the last `count` tokens alone, as for the likelihood of an answer."""
    labels = torch.full_like(ids, -100)
    labels[:, -count:] = ids[:, -count:]
    return labels


def reference_of(model, prompt, trace):
    """Logits of all positions, (batch, length, vocabulary), with the columns that `trace` dropped hidden."""
    return reference_logits(
        model, prompt["input_ids"], prompt["pixel_values"], trace.kept, prompt.get("attention_mask")
    )


def loss_by_hand(logits, labels, **options):
    return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, **options)


@pytest.fixture(params=["one", "left", "right"])
def prompt(request, tiny, inputs):
    """One prompt; two of unequal length, padded on either side."""
    return inputs if request.param == "one" else batch_of(tiny[1], QUESTIONS, side=request.param)[0]


@pytest.fixture(params=["llava", "llava_next"])
def any_family(request):
    model, processor = tiny_llava(family=request.param)
    return model, build_inputs(processor, random_picture(), "what is this?")


def test_positions_are_of_the_rows_that_are_left(tiny, prompt):
    model, _ = tiny
    with prune_visual_tokens(model, recipe_of()) as trace:
        logits = model(**prompt).logits
    expected = reference_of(model, prompt, trace)
    positions = trace.positions.reshape(logits.shape[0], -1)
    assert positions.shape == logits.shape[:2]
    ids = prompt["input_ids"].gather(1, positions)
    for row, (kept, is_image) in enumerate(zip(trace.kept[-1].reshape(len(ids), -1), ids == 3, strict=True)):
        numbers = (prompt["input_ids"][row] == 3).cumsum(0)[positions[row]] - 1
        assert numbers[is_image].tolist() == kept.tolist()
    found = expected.take_along_dim(positions[..., None], dim=1)
    real = prompt["attention_mask"].gather(1, positions).bool()
    assert (logits - found)[real].abs().max() < 1e-5


def test_positions_of_a_prompt_that_loses_nothing(tiny, inputs):
    model, processor = tiny
    text = processor(text="what?", return_tensors="pt")
    with prune_visual_tokens(model, recipe_of()) as trace:
        model(**inputs)
        model(**text)
    assert trace.positions.tolist() == list(range(text["input_ids"].shape[1]))


# ---- labels


def test_loss_of_an_answer(tiny, prompt):
    model, _ = tiny
    labels = answer_labels(prompt["input_ids"]).masked_fill(prompt["attention_mask"] == 0, -100)
    with prune_visual_tokens(model, recipe_of()) as trace:
        output = model(**prompt, labels=labels)
        logits = model(**prompt).logits
    assert float(output.loss) == pytest.approx(
        float(loss_by_hand(reference_of(model, prompt, trace), labels)), abs=1e-5
    )
    assert torch.equal(output.logits, logits)


def test_loss_of_all_families(any_family):
    model, inputs = any_family
    labels = answer_labels(inputs["input_ids"])
    recipe = recipe_of((50, 0, 120, 90), num_visual_tokens=360)
    with prune_visual_tokens(model, recipe) as trace:
        loss = model(**inputs, labels=labels).loss
    images = {"image_sizes": inputs["image_sizes"]} if "image_sizes" in inputs else {}
    logits = reference_logits(model, inputs["input_ids"], inputs["pixel_values"], trace.kept, **images)
    assert float(loss) == pytest.approx(float(loss_by_hand(logits, labels)), abs=1e-5)


def test_labels_of_text_before_and_behind_the_image(tiny, inputs):
    model, _ = tiny
    ids = inputs["input_ids"]
    visual = (ids[0] == 3).nonzero()[:, 0]
    labels = ids.masked_fill(ids == 3, -100)
    labels[:, visual[-1] + 1] = -100
    with prune_visual_tokens(model, recipe_of()) as trace:
        loss = model(**inputs, labels=labels).loss
        items = model(**inputs, labels=labels, num_items_in_batch=7).loss
        shifted = torch.cat([labels[:, 1:], labels.new_full((1, 1), -100)], dim=1)
        same = model(**inputs, labels=labels, shift_labels=shifted).loss
    expected = reference_of(model, inputs, trace)
    assert float(loss) == pytest.approx(float(loss_by_hand(expected, labels)), abs=1e-5)
    assert float(items) == pytest.approx(float(loss_by_hand(expected, labels, reduction="sum")) / 7, abs=1e-5)
    assert torch.equal(loss, same)


def test_labels_of_a_dropped_token_are_refused(tiny, inputs):
    model, _ = tiny
    ids = inputs["input_ids"]
    last = int((ids[0] == 3).nonzero()[-1])
    behind = torch.full_like(ids, -100)
    behind[0, last + 1] = 70
    with prune_visual_tokens(model, recipe_of((30, 6, 0, 0))):
        with pytest.raises(ValueError, match="has a label, but the visual token there was dropped"):
            model(**inputs, labels=ids)
        with pytest.raises(ValueError, match=f"label of position {last + 1} would be predicted from position {last}"):
            model(**inputs, labels=behind)
        with pytest.raises(ValueError, match=r"labels has shape \(1, 4\); this prompt needs"):
            model(**inputs, labels=ids[:, :4])
        assert model(**inputs).loss is None


def test_labels_where_nothing_is_dropped_are_transformers_own(tiny, inputs):
    model, processor = tiny
    text = processor(text="what is this?", return_tensors="pt")
    plain, plain_text = (model(**one, labels=one["input_ids"]).loss for one in (inputs, text))
    with prune_visual_tokens(model, recipe_of()):
        assert torch.equal(model(**text, labels=text["input_ids"]).loss, plain_text)
    with prune_visual_tokens(model, recipe_of((0, 0, 0, 0))):
        assert torch.equal(model(**inputs, labels=inputs["input_ids"]).loss, plain)


def test_a_tuple_is_given_where_one_is_asked_for(tiny, inputs):
    model, _ = tiny
    labels = answer_labels(inputs["input_ids"])
    with prune_visual_tokens(model, recipe_of()):
        output = model(**inputs, labels=labels, use_cache=False)
        loss, logits, *_ = model(**inputs, labels=labels, use_cache=False, return_dict=False)
    assert torch.equal(loss, output.loss) and torch.equal(logits, output.logits)


# ---- logits_to_keep


def test_logits_of_text_positions(tiny, prompt):
    model, _ = tiny
    length = prompt["input_ids"].shape[1]
    first = length - 4
    wanted = torch.arange(first, length)
    mask = torch.zeros_like(prompt["input_ids"], dtype=torch.bool)
    mask[:, first:] = True
    with prune_visual_tokens(model, recipe_of()) as trace:
        forms = {
            "positions": model(**prompt, logits_to_keep=wanted).logits,
            "from the end": model(**prompt, logits_to_keep=wanted - length).logits,
            "of each": model(**prompt, logits_to_keep=wanted.expand(len(mask), -1)).logits,
            "mask": model(**prompt, logits_to_keep=mask).logits.view(len(mask), 4, -1),
            "mask of all": model(**prompt, logits_to_keep=mask[0]).logits,
            "count": model(**prompt, logits_to_keep=4).logits,
        }
        everything = model(**prompt, logits_to_keep=0).logits
    expected = reference_of(model, prompt, trace)[:, first:]
    real = prompt["attention_mask"][:, first:].bool()
    for form, logits in forms.items():
        assert logits.shape == expected.shape, form
        assert (logits - expected)[real].abs().max() < 1e-5, form
    assert torch.equal(everything[:, -4:], forms["count"])


def test_logits_before_the_image_and_of_kept_tokens(tiny, inputs):
    model, _ = tiny
    with prune_visual_tokens(model, recipe_of()) as trace:
        model(**inputs)
        wanted = trace.positions[[0, 3, 12, -1]]
        logits = model(**inputs, logits_to_keep=wanted.flip(0)).logits
    assert (logits.flip(1) - reference_of(model, inputs, trace)[:, wanted]).abs().max() < 1e-5


@pytest.mark.parametrize("form", ["positions", "count", "mask"])
def test_logits_of_a_dropped_token_are_refused(tiny, inputs, form):
    model, _ = tiny
    length = inputs["input_ids"].shape[1]
    with prune_visual_tokens(model, recipe_of()) as trace:
        model(**inputs)
        gone = sorted(set(range(length)) - set(trace.positions.tolist()))
        asked = {
            "positions": torch.tensor([length - 1, gone[-1]]),
            "count": length - gone[-1],
            "mask": torch.ones_like(inputs["input_ids"], dtype=torch.bool),
        }[form]
        where = gone[0] if form == "mask" else gone[-1]
        with pytest.raises(ValueError, match=f"position {where} were asked for.* was dropped"):
            model(**inputs, logits_to_keep=asked)
        with pytest.raises(ValueError, match=f"position {length} of a prompt of {length}"):
            model(**inputs, logits_to_keep=torch.tensor([length]))


def test_labels_for_the_logits_that_are_kept(tiny, inputs):
    """As in transformers: labels for as many rows as logits are asked for."""
    model, _ = tiny
    labels = inputs["input_ids"][:, -4:]
    with prune_visual_tokens(model, recipe_of()) as trace:
        output = model(**inputs, labels=labels, logits_to_keep=4)
    expected = reference_of(model, inputs, trace)[:, -4:]
    assert (output.logits - expected).abs().max() < 1e-5
    assert float(output.loss) == pytest.approx(float(loss_by_hand(expected, labels)), abs=1e-5)


def test_a_second_turn_keeps_its_own_positions(tiny, inputs):
    model, _ = tiny
    more = torch.tensor([[70, 71, 72]])
    with prune_visual_tokens(model, recipe_of()) as trace:
        cache = model(**inputs, use_cache=True).past_key_values
        output = model(input_ids=more, past_key_values=cache, logits_to_keep=torch.tensor([1]), use_cache=True)
    ids = torch.cat([inputs["input_ids"], more], dim=1)
    expected = reference_logits(model, ids, inputs["pixel_values"], trace.kept)
    assert (output.logits[:, 0] - expected[:, -2]).abs().max() < 1e-5
