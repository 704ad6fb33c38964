"""Many questions, several budgets and methods, one table: what pruning does to a model's answers, and what it saves."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.answer_sheet import ORIGINAL, Answer, AnswerSheet, Score, scores
from fitprune_core.costs import request_cost
from fitprune_core.decoder import exclusive_use
from fitprune_core.generation import generate_greedily, with_memory_explained
from fitprune_core.loading import build_inputs, model_name
from fitprune_core.methods import Method, find_method
from fitprune_core.pictures import check_question, open_picture
from fitprune_core.pruning import prune_visual_tokens
from fitprune_core.recipe import PruningRecipe, check_share
from fitprune_core.results import normalised
from fitprune_core.samples import Sample, check_samples, read_samples
from fitprune_core.visual_tokens import image_aspect

logger = logging.getLogger(__name__)


def evaluate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    samples: str | os.PathLike,
    reductions: Sequence[float],
    recipe_for: Callable[[float], PruningRecipe],
    out: str | os.PathLike,
    *,
    methods: Sequence[str | Method] = ("fitprune",),
    max_new_tokens: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """Answer every sample with the original model and with each method at each budget, and append that to `out`.

    Args:
        samples: a samples file, see `samples.read_samples`. It is checked as a whole before the first answer.
        reductions: shares of visual compute to save, 0 <= reduction < 1. The original model, reduction 0, always runs.
        recipe_for: the recipe for a reduction.
        out: CSV file, see `answer_sheet.Answer`. Answers that it holds are not given again, so a run that was stopped,
            at whatever point, goes on where it stopped.
        methods: names in `METHODS`, or instances.
        max_new_tokens: longest answer. Decoding is greedy.
        progress: called after every sample with samples done and samples in all.

    Returns the scores of all answers in the file. Answers are compared but for upper case, white space and punctuation
    at the end. A sample that cannot be answered (a picture that does not open, a question that is too long, memory that
    does not suffice) is reported as a warning and left out; the next run tries it anew.

    Raises ValueError for a samples file, method, budget or CSV file that cannot be, and if no sample could be answered.
    """
    jobs = _jobs(
        model,
        image_aspect(model.config, processor),
        reductions,
        recipe_for,
        [find_method(method) for method in methods],
    )
    total = check_samples(samples)
    sheet = AnswerSheet(out, model_name(model), max_new_tokens)
    for number, sample in enumerate(read_samples(samples), start=1):
        work = partial(_answers, model, processor, jobs, sheet, sample, max_new_tokens)
        try:
            sheet.append(with_memory_explained(work, model.device, f"sample {sample.id}"))
        except (ValueError, MemoryError) as error:
            logger.warning("left out sample %s (%s): %s", sample.id, sample.place, error)
        if progress is not None:
            progress(number, total)
    if not len(sheet):
        raise ValueError(f"none of the {total} samples in {samples} could be answered")
    return scores(out)


@dataclass(frozen=True)
class _Job:
    """One way to answer: a method at a budget, or, without a recipe, the original model."""

    reduction: float
    method: Method | None = None
    recipe: PruningRecipe | None = None

    @property
    def name(self) -> str:
        return self.method.name if self.method else ORIGINAL


def _jobs(
    model: PreTrainedModel,
    aspect: str,
    reductions: Sequence[float],
    recipe_for: Callable[[float], PruningRecipe],
    methods: Sequence[Method],
) -> list[_Job]:
    """The original model, then every method at every budget above 0, without repetitions."""
    name, depth = model_name(model), model.config.text_config.num_hidden_layers
    jobs = [_Job(0.0)]
    for reduction in dict.fromkeys(check_share("reduction", reduction) for reduction in reductions):
        if reduction == 0.0:
            continue
        recipe = recipe_for(reduction)
        recipe.check_model(depth, name, aspect)
        # Every pruned run would warn anew that the recipe is another checkpoint's; once is enough.
        recipe = replace(recipe, model=name)
        jobs += [_Job(reduction, method, recipe) for method in {method.name: method for method in methods}.values()]
    return jobs


def _answers(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    jobs: Sequence[_Job],
    sheet: AnswerSheet,
    sample: Sample,
    max_new_tokens: int,
) -> list[Answer]:
    """The answers to one sample that the sheet does not hold yet."""
    missing = [job for job in jobs if (sample.id, job.reduction, job.name) not in sheet]
    if not missing:
        return []
    picture, question = open_picture(sample.image), check_question(sample.question)
    inputs = build_inputs(processor, picture, question).to(model.device)
    length, longest = inputs["input_ids"].shape[1], model.config.text_config.max_position_embeddings
    if length + max_new_tokens > longest:
        raise ValueError(
            f"the prompt has {length} tokens and the answer up to {max_new_tokens}; the model reads {longest}"
        )
    original = sheet.original(sample.id)
    answers = []
    # The original comes first wherever it is missing, so what the others are compared with is always there.
    for job in missing:
        answer = _answer(model, processor, inputs, job, sample, max_new_tokens)
        original = answer.answer if job.recipe is None else original
        answers.append(replace(answer, agrees=_mark(normalised(answer.answer) == normalised(original))))
    return answers


def _answer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    inputs: Mapping[str, torch.Tensor],
    job: _Job,
    sample: Sample,
    max_new_tokens: int,
) -> Answer:
    """One answer and what it cost; whether it agrees with the original's is left open."""
    config = model.config
    with exclusive_use(model), torch.no_grad():
        if job.recipe is None:
            generated = generate_greedily(model, inputs, max_new_tokens=max_new_tokens)
            removed = [0] * config.text_config.num_hidden_layers
        else:
            with prune_visual_tokens(model, job.recipe, method=job.method) as trace:
                generated = generate_greedily(model, inputs, max_new_tokens=max_new_tokens)
            removed = [dropped.shape[-1] for dropped in trace.dropped]
    reads = job.method.scores if job.method else "none"
    cost = request_cost(model, inputs, removed, len(generated.token_ids), reads)
    text = processor.tokenizer.decode(list(generated.token_ids), skip_special_tokens=True)
    expected = " ".join((sample.answer or "").split())
    return Answer(
        id=sample.id,
        reduction=job.reduction,
        method=job.name,
        answer=" ".join(text.split()),
        expected=expected,
        correct=_mark(normalised(text) == normalised(expected)) if expected else "",
        agrees="",
        new_tokens=len(generated.token_ids),
        visual_tokens=cost.visual_tokens,
        achieved_reduction=cost.achieved_reduction,
        visual_gflops=cost.visual / 1e9,
        total_gflops=cost.request.total / 1e9,
        model=model_name(model),
        max_new_tokens=max_new_tokens,
    )


def _mark(yes: bool) -> str:
    return "1" if yes else "0"
