"""Many questions, several budgets and methods, one table: what pruning does to a model's answers, and what it saves."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.evaluation.answer_sheet import (
    ORIGINAL,
    Answer,
    AnswerSheet,
    Conditions,
    Score,
    begin_sheet,
    merge_parts,
    scores,
)
from fitprune_core.models.exclusive import exclusive_use
from fitprune_core.models.layout import image_aspect
from fitprune_core.models.loading import model_name
from fitprune_core.pruning.context import prune_visual_tokens
from fitprune_core.pruning.methods import Method, find_method
from fitprune_core.recipes.recipe import PruningRecipe, check_share
from fitprune_core.run.costs import request_cost
from fitprune_core.run.generation import generate_greedily
from fitprune_core.run.results import normalised
from fitprune_core.samples.files import Sample, check_samples
from fitprune_core.samples.loop import prompt_of, work_through
from fitprune_core.samples.processes import Processes, part_path, sole_run


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
    processes: Processes | None = None,
) -> list[Score]:
    """Answer every sample with the original model and with each method at each budget, and append that to `out`.

    Args:
        samples: a samples file, see `samples.read_samples`. It is checked as a whole before the first answer.
        reductions: shares of visual compute to save, 0 <= reduction < 1. The original model, reduction 0, always runs.
        recipe_for: the recipe for a reduction.
        out: CSV file, see `answer_sheet.Answer`. Answers that it holds are not given again, so a run that was stopped,
            at whatever point, goes on where it stopped.
        methods: as `registry.find_method` takes them: names in `METHODS`, with options ("random:seed=1"), or instances.
            Their labels are what tells their answers apart.
        max_new_tokens: longest answer. Decoding is greedy.
        progress: as for `over_samples.work_through`.
        processes: those that share the samples, if not this one alone; see `distributed.started_processes`. Each
            writes its answers beside `out`; in the end, or when a run that was stopped is gone on with, they are put
            into it, sample by sample.

    Returns the scores of all answers in the file. Answers are compared but for upper case, white space and punctuation
    at the end. A sample that cannot be answered (a picture that does not open, a question that is too long, memory that
    does not suffice) is reported as a warning and left out; the next run tries it anew.

    Raises ValueError for a samples file, method, budget or CSV file that cannot be, and if no sample could be answered.
    """
    samples, out, processes = Path(samples), Path(out), processes or Processes()
    conditions = Conditions(model_name(model), max_new_tokens, image_aspect(model.config, processor))
    merge = partial(merge_parts, out, conditions, samples)
    jobs, total = processes.agree(partial(_prepare, model, conditions, samples, reductions, recipe_for, methods))
    with sole_run(out, processes):
        processes.on_main(merge)
        # One process begins or mends the sheet; then it is there for every one to open.
        processes.on_main(partial(begin_sheet, out))
        sheet = processes.agree(partial(AnswerSheet, out, conditions))
        if processes.count > 1:
            sheet.continue_in(part_path(out, processes.rank))

        def work(_: int, sample: Sample) -> bool:
            answers = _answers(model, processor, jobs, sheet, sample, conditions)
            sheet.append(answers)
            return bool(answers)

        reason = work_through(samples, total, work, device=model.device, processes=processes, progress=progress)
        processes.on_main(merge)
        found = scores(out)
    if not found:
        raise ValueError(f"none of the {total} samples in {samples} could be answered; {reason}")
    return found


@dataclass(frozen=True)
class _Job:
    """One way to answer: a method at a budget, or, without a recipe, the original model."""

    reduction: float
    method: Method | None = None
    recipe: PruningRecipe | None = None

    @property
    def name(self) -> str:
        return self.method.label if self.method else ORIGINAL


def _prepare(
    model: PreTrainedModel,
    conditions: Conditions,
    samples: Path,
    reductions: Sequence[float],
    recipe_for: Callable[[float], PruningRecipe],
    methods: Sequence[str | Method],
) -> tuple[list[_Job], int]:
    """Look at what can be looked at beforehand: the ways to answer, and how many samples there are."""
    jobs = _jobs(model, conditions, reductions, recipe_for, [find_method(method) for method in methods])
    return jobs, check_samples(samples)


def _jobs(
    model: PreTrainedModel,
    conditions: Conditions,
    reductions: Sequence[float],
    recipe_for: Callable[[float], PruningRecipe],
    methods: Sequence[Method],
) -> list[_Job]:
    """The original model, then every method at every budget above 0, without repetitions."""
    name, depth = conditions.model, model.config.text_config.num_hidden_layers
    jobs = [_Job(0.0)]
    for reduction in dict.fromkeys(check_share("reduction", reduction) for reduction in reductions):
        if reduction == 0.0:
            continue
        recipe = recipe_for(reduction)
        recipe.check_model(depth, name, conditions.image_aspect)
        # Every pruned run would warn anew that the recipe is another checkpoint's; once is enough.
        recipe = replace(recipe, model=name)
        jobs += [_Job(reduction, method, recipe) for method in {method.label: method for method in methods}.values()]
    return jobs


def _answers(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    jobs: Sequence[_Job],
    sheet: AnswerSheet,
    sample: Sample,
    conditions: Conditions,
) -> list[Answer]:
    """The answers to one sample that the sheet does not hold yet."""
    missing = [job for job in jobs if (sample.id, job.reduction, job.name) not in sheet]
    if not missing:
        return []
    inputs = prompt_of(model, processor, sample, max_new_tokens=conditions.max_new_tokens)
    original = sheet.original(sample.id)
    answers = []
    # The original comes first wherever it is missing, so what the others are compared with is always there.
    for job in missing:
        answer = _answer(model, processor, inputs, job, sample, conditions)
        original = answer.answer if job.recipe is None else original
        answers.append(replace(answer, agrees=_mark(normalised(answer.answer) == normalised(original))))
    return answers


def _answer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    inputs: Mapping[str, torch.Tensor],
    job: _Job,
    sample: Sample,
    conditions: Conditions,
) -> Answer:
    """One answer and what it cost; whether it agrees with the original's is left open."""
    config = model.config
    with exclusive_use(model), torch.no_grad():
        if job.recipe is None:
            generated = generate_greedily(model, inputs, max_new_tokens=conditions.max_new_tokens)
            removed = [0] * config.text_config.num_hidden_layers
        else:
            with prune_visual_tokens(model, job.recipe, method=job.method) as trace:
                generated = generate_greedily(model, inputs, max_new_tokens=conditions.max_new_tokens)
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
        **asdict(conditions),
    )


def _mark(yes: bool) -> str:
    return "1" if yes else "0"
