"""Threads that run a model inside one block take turns, and each gets its own answer."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fitprune_core import build_inputs, prune_visual_tokens
from tests.pruned import recipe_of, state_of
from tests.tiny import random_picture


@pytest.fixture
def hurried():
    """Python changes threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("method", ["fitprune", "visionzip-dominant"])
def test_each_gets_what_it_would_get_alone(tiny, hurried, method):
    model, processor = tiny
    questions = ["what is this?" + count * " tell me" for count in range(4)]
    prompts = [build_inputs(processor, random_picture(seed=seed), each) for seed, each in enumerate(questions)]

    def generate(prompt):
        given = model.generate(**prompt, max_new_tokens=4, do_sample=False, output_logits=True,
                               return_dict_in_generate=True)  # fmt: skip
        return torch.cat(given.logits)

    def read(prompt):
        with torch.no_grad():
            return model(**prompt).logits

    before, works = state_of(model), [generate, read] * 2
    with prune_visual_tokens(model, recipe_of(), method=method):
        alone = [work(prompt) for work, prompt in zip(works, prompts, strict=True)]
        with ThreadPoolExecutor(len(prompts)) as pool:
            for _ in range(3):
                together = list(pool.map(lambda work, prompt: work(prompt), works, prompts))
                for one, other in zip(alone, together, strict=True):
                    assert torch.equal(one, other)
    assert state_of(model) == before
