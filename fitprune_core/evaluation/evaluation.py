"""Many questions, several budgets and methods, one table: what pruning does to a model's answers, and what it saves."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

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
from fitprune_core.models.layout import image_aspect
from fitprune_core.models.loading import model_name
from fitprune_core.pruning.methods import Method, find_method
from fitprune_core.recipes.recipe import PruningRecipe, check_share
from fitprune_core.run.answer import UNPRUNED, Way, answer
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.results import normalised
from fitprune_core.samples.files import Sample, SamplesFile, check_samples
from fitprune_core.samples.loop import prompt_of, work_through
from fitprune_core.samples.processes import Processes, part_path, sole_run

logger = logging.getLogger(__name__)


def evaluate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    samples: str | os.PathLike | SamplesFile,
    reductions: Sequence[float],
    recipe_for: Callable[[float], PruningRecipe],
    out: str | os.PathLike,
    *,
    methods: Sequence[str | Method] = ("fitprune",),
    max_new_tokens: int = 64,
    images: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
    processes: Processes | None = None,
) -> list[Score]:
    """Answer every sample with the original model and with each method at each budget, and append that to `out`.

    Args:
        samples: a samples file, see `samples.files`. It is checked as a whole before the first answer.
        reductions: shares of visual compute to save, 0 <= reduction < 1. The original model, reduction 0, always runs.
        recipe_for: the recipe for a reduction.
        out: CSV file, see `answer_sheet.Answer`. Answers that it holds are not given again, so a run that was stopped,
            at whatever point, goes on where it stopped.
        methods: names in `METHODS`, or instances.
        max_new_tokens: longest answer. Decoding is greedy.
        images: the folder that pictures are relative to, if not the samples file's own.
        progress: as for `over_samples.work_through`.
        processes: those that share the samples, if not this one alone; see `distributed.started_processes`. Each
            writes its answers beside `out`; in the end, or when a run that was stopped is gone on with, they are put
            into it, sample by sample.

    Returns the scores of all answers in the file. Answers are compared but for upper case, white space and punctuation
    at the end. A sample that cannot be answered (a picture that does not open, a question that is too long, memory that
    does not suffice) is reported as a warning and left out; the next run tries it anew.

    Raises ValueError for a samples file, method, budget or CSV file that cannot be, and if no sample could be answered.
    """
    samples, out, processes = SamplesFile.of(samples, images), Path(out), processes or Processes()
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
    """A way to answer, and the budget that it is for."""

    reduction: float
    way: Way = UNPRUNED

    @property
    def name(self) -> str:
        return self.way.method.label if self.way.method else ORIGINAL


def _prepare(
    model: PreTrainedModel,
    conditions: Conditions,
    samples: SamplesFile,
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
        recipe.check_model(depth, name)
        for warning in recipe.warnings_for(name, conditions.image_aspect):
            logger.warning(warning)
        jobs += [_Job(reduction, Way(recipe, method)) for method in {each.label: each for each in methods}.values()]
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
        original = answer.answer if job.way is UNPRUNED else original
        answers.append(replace(answer, agrees=_mark(normalised(answer.answer) == normalised(original))))
    return answers


def _answer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    inputs: BatchFeature,
    job: _Job,
    sample: Sample,
    conditions: Conditions,
) -> Answer:
    """One answer and what it cost; whether it agrees with the original's is left open."""
    (given,) = answer(model, processor, [inputs], job.way, Decoding(conditions.max_new_tokens))
    expected = " ".join((sample.answer or "").split())
    return Answer(
        id=sample.id,
        reduction=job.reduction,
        method=job.name,
        answer=" ".join(given.text.split()),
        expected=expected,
        correct=_mark(normalised(given.text) == normalised(expected)) if expected else "",
        agrees="",
        new_tokens=len(given.token_ids),
        visual_tokens=given.cost.visual_tokens,
        achieved_reduction=given.cost.achieved_reduction,
        visual_gflops=given.cost.visual / 1e9,
        total_gflops=given.cost.request.total / 1e9,
        **asdict(conditions),
    )


def _mark(yes: bool) -> str:
    return "1" if yes else "0"
