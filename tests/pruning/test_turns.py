"""Who holds a model, and for how long: blocks in generators that end on any thread, or never; turns; copies."""

import copy
import gc
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fitprune_core import build_inputs, prune_visual_tokens
from fitprune_core.models.exclusive import exclusive_use
from tests.pruned import recipe_of, state_of
from tests.tiny import random_picture, tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")

SOON = 20  # seconds; a thread that has not got the model by then never will


@pytest.fixture(scope="module")
def prompt(tiny):
    return build_inputs(tiny[1], random_picture(), "what is this?")


@pytest.fixture
def worker():
    """A thread that lives on, as those of a server do; its `submit(...).result()` runs something there."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def stream(model, prompt, *, lengths=(1, 2, 3)):
    """Answers of growing length, all in one block."""
    with prune_visual_tokens(model, recipe_of()):
        for length in lengths:
            with torch.no_grad():
                yield model.generate(**prompt, max_new_tokens=length, do_sample=False)[0, -length:].tolist()


def is_free(model) -> bool:
    """Whether a thread of its own gets the model soon."""

    def ask():
        with prune_visual_tokens(model, recipe_of()):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SOON)
    return not thread.is_alive()


def assert_left_as_found(model, prompt, before, plain):
    assert state_of(model) == before
    assert torch.equal(model(**prompt).logits, plain)
    assert is_free(model)


@pytest.fixture
def found(tiny, prompt):
    """The state of the tiny model and its plain logits."""
    model, _ = tiny
    plain = model(**prompt).logits
    return state_of(model), plain


@pytest.mark.slow
@pytest.mark.parametrize("end", [list, lambda generator: generator.close()])
def test_a_generator_that_began_on_another_thread_ends_here(tiny, prompt, found, worker, end):
    model, _ = tiny
    expected = list(stream(model, prompt))
    generator = stream(model, prompt)
    assert worker.submit(next, generator).result() == expected[0]
    assert next(generator) == expected[1]
    end(generator)
    assert_left_as_found(model, prompt, *found)
    assert worker.submit(list, stream(model, prompt)).result() == expected


def test_a_generator_whose_thread_is_gone_ends_here(tiny, prompt, found):
    model, _ = tiny
    generator = stream(model, prompt)
    thread = threading.Thread(target=next, args=(generator,))
    thread.start()
    thread.join()
    list(generator)
    assert_left_as_found(model, prompt, *found)


def test_an_error_on_another_thread_frees_the_model(tiny, prompt, found, worker):
    model, _ = tiny
    generator = stream(model, prompt)
    worker.submit(next, generator).result()
    with pytest.raises(KeyboardInterrupt):
        generator.throw(KeyboardInterrupt())
    assert_left_as_found(model, prompt, *found)


def test_a_generator_that_is_forgotten_frees_the_model(tiny, prompt, found, worker):
    model, _ = tiny
    generator = stream(model, prompt)
    worker.submit(next, generator).result()
    del generator
    assert_left_as_found(model, prompt, *found)


@pytest.mark.slow
def test_one_that_is_forgotten_in_a_cycle_frees_it_for_whoever_waits(tiny, prompt, found, worker):
    model, _ = tiny
    holder = [stream(model, prompt)]
    holder.append(holder)
    worker.submit(next, holder[0]).result()
    gc.disable()
    try:
        del holder
        assert is_free(model)
    finally:
        gc.enable()
    assert_left_as_found(model, prompt, *found)


def test_a_generator_may_nest_wherever_it_is_resumed(tiny, prompt, worker):
    model, _ = tiny

    def compare():
        with exclusive_use(model):
            with torch.no_grad():
                yield model(**prompt).logits.shape[1]
            with prune_visual_tokens(model, recipe_of()), exclusive_use(model), torch.no_grad():
                yield model(**prompt).logits.shape[1]

    generator = compare()
    length = prompt["input_ids"].shape[1]
    assert worker.submit(next, generator).result() == length
    with ThreadPoolExecutor(1) as another:
        assert another.submit(next, generator).result(SOON) == length - 26
    assert list(generator) == []
    assert is_free(model)


def test_a_thread_cannot_prune_beside_its_own_unfinished_generator(tiny, prompt, found):
    model, _ = tiny
    generator = stream(model, prompt)
    next(generator)
    with pytest.raises(ValueError, match="has not ended"):
        next(stream(model, prompt))
    assert len(list(generator)) == 2
    assert_left_as_found(model, prompt, *found)


@pytest.mark.slow
def test_many_generators_take_turns_on_few_threads(tiny, prompt):
    """Every step of every generator runs on whichever thread is next, as in a web server."""
    model, _ = tiny
    expected = list(stream(model, prompt))
    turn = threading.Semaphore(2)

    def answer():
        with turn, ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
            generator = stream(model, prompt)
            return [pool.submit(next, generator).result() for pool in (first, second, first)] + list(generator)

    with ThreadPoolExecutor(4) as visitors:
        answers = [visitors.submit(answer) for _ in range(6)]
        assert [one.result(60) for one in answers] == [expected] * 6


@pytest.mark.slow
def test_another_thread_waits_until_the_last_nested_block_ends(tiny):
    model, _ = tiny
    got = threading.Event()

    def ask():
        with exclusive_use(model):
            got.set()

    with exclusive_use(model):
        with exclusive_use(model):
            thread = threading.Thread(target=ask)
            thread.start()
        assert not got.wait(0.2)
    thread.join(SOON)
    assert got.is_set()


@pytest.mark.slow
def test_a_later_thread_is_not_taken_for_one_that_is_gone(tiny):
    """The system gives the number of a thread that is gone to the next one."""
    model, _ = tiny
    block = exclusive_use(model)
    thread = threading.Thread(target=block.__enter__)
    thread.start()
    thread.join()
    got = threading.Event()

    def ask():
        with exclusive_use(model):
            got.set()

    asking = threading.Thread(target=ask)
    asking.start()
    assert not got.wait(0.2)
    block.__exit__(None, None, None)
    asking.join(SOON)
    assert got.is_set()


# ---- copies


@pytest.mark.slow
@pytest.mark.parametrize("way", ["copy", "pickle"])
def test_a_copy_made_inside_a_block_is_a_plain_model(prompt, way):
    model, _ = tiny_llava()
    with prune_visual_tokens(model, recipe_of()) as trace:
        if way == "copy":
            twin = copy.deepcopy(model)
        else:
            file = io.BytesIO()
            torch.save(model, file)
            file.seek(0)
            twin = torch.load(file, weights_only=False)
        pruned = model(**prompt).logits
        kept = trace.kept
        plain = twin(**prompt).logits
        with prune_visual_tokens(twin, recipe_of((9, 0, 0, 0))) as other:
            assert twin(**prompt).logits.shape[1] == plain.shape[1] - 9
            assert torch.equal(model(**prompt).logits, pruned)
        assert other.num_visual_tokens == 36 and len(other.kept[0]) == 27
        assert torch.equal(twin(**prompt).logits, plain)
    assert torch.equal(twin(**prompt).logits, plain) and torch.equal(model(**prompt).logits, plain)
    assert trace.kept[-1].tolist() == kept[-1].tolist()
