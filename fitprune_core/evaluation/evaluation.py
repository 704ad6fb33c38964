"""Many questions, several budgets and methods, one table: what pruning does to a model's answers, and what it saves."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.checks.files import path_of, remove_partials
from fitprune_core.checks.words import plural, shown
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.evaluation.table import Score, check_table, export, mark, on_one_line
from fitprune_core.models.decoder_check import check_decoder
from fitprune_core.models.exclusive import free_model
from fitprune_core.models.loading import model_name
from fitprune_core.models.others_code import code_digest
from fitprune_core.models.provenance import conditions_of
from fitprune_core.pruning.methods import Method
from fitprune_core.pruning.methods.registry import find_methods, is_known
from fitprune_core.recipes.recipe import PruningRecipe, check_share
from fitprune_core.recipes.store import recipe_source
from fitprune_core.run.answer import UNPRUNED, Answer, Way, answer
from fitprune_core.run.batch import BatchSize
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.generation import end_tokens
from fitprune_core.run.results import ORIGINAL, normalised
from fitprune_core.run.seen import Seen
from fitprune_core.samples.files import SamplesFile, check_samples
from fitprune_core.samples.journal import Journal, Record, journal_path, remove_journal, shared_journal
from fitprune_core.samples.loop import Task, Walk
from fitprune_core.samples.processes import Processes, sole_run

logger = logging.getLogger(__name__)


def evaluate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    samples: str | os.PathLike | SamplesFile,
    reductions: Sequence[float] | float,
    recipe_for: Callable[[float], PruningRecipe] | None,
    out: str | os.PathLike,
    *,
    methods: Sequence[str | Method | type[Method]] | str | Method | type[Method] = ("fitprune",),
    max_new_tokens: int = 64,
    images: str | os.PathLike | None = None,
    batch_size: int | str = 1,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes | None = None,
) -> list[Score]:
    """Answer every sample with the original model and with each method at each budget, and write that to `out`.

    Args:
        samples: a samples file, see `samples.files`. It is checked as a whole before the first answer.
        reductions: shares of visual compute to save, 0 <= reduction < 1, one or several. The original model, reduction
            0, always runs.
        recipe_for: the recipe for a reduction; None for those of the model, see `recipes.store.recipe_source`.
        out: CSV file, see `table.Row`, written when the run ends. What was answered so far is in a journal beside it
            (`journal.journal_path`) and is not answered again: a run that was stopped, at whatever point, goes on where
            it stopped, and another budget or method adds its answers alone.
        methods: one or several, as `registry.find_method` takes them: names in `METHODS`, with options
            ("random:seed=1"), or instances. Their labels are what tells their answers apart.
        max_new_tokens: longest answer. Decoding is greedy.
        images: the folder that pictures are relative to, if not the samples file's own.
        batch_size: how many samples are answered at once, from 1 up, or "auto"; see `batch.BatchSize`. Answers do not
            depend on it.
        progress, should_stop: as for `loop.Walk`. A run that was stopped writes the table of what it did, and returns
            no score where that is nothing.
        processes: those that share the samples, if not this one alone; see `processes.started_processes`.

    Returns the scores of all answers in the file. Answers are compared but for upper case, white space and punctuation
    at the end. A sample that cannot be answered (a picture that does not open, a question that is too long, memory that
    does not suffice) is reported as a warning and left out; the next run tries it anew.

    Raises ValueError for a samples file, method, budget or batch size that cannot be; inside a block that prunes the
    model; for a journal of other weights (with the adapters that are on, and hooks), recipes, pictures, questions or
    options, or of a method of one's own that does something else by now, naming what differs; for a file that
    is no export of a journal; and if no sample could be answered.
    """
    model = free_model(model)
    file, out, processes = SamplesFile.of(samples, images), path_of(out, "out"), processes or Processes()
    sizes, decoding = BatchSize(batch_size), Decoding(max_new_tokens)

    def prepared() -> tuple[list[Job], int, dict[str, str]]:
        check_decoder(model)
        check_table(out, (file,))
        source = recipe_for or recipe_source(model_name(model), DecoderGeometry.from_config(model.config))
        jobs = jobs_of(reductions, source, list(find_methods(methods).values()))
        warnings = [warning for job in jobs for warning in job.way.warnings_on(model, processor)]
        for warning in dict.fromkeys(warnings):
            logger.warning(warning)
        conditions = conditions_of(model, processor) | {"end_tokens": " ".join(map(str, end_tokens(model)))}
        conditions |= {"max_new_tokens": str(max_new_tokens)} | {f"recipe of {job}": job.counts for job in jobs}
        conditions |= _own_classes(job.way.method for job in jobs)
        return jobs, check_samples(file, warns=processes.is_main), conditions

    jobs, total, conditions = processes.agree(prepared)
    with sole_run(out, processes):
        try:
            with shared_journal(out, conditions, processes) as journal:
                ways = [job.way_name for job in jobs]
                walk = Walk(
                    model,
                    processor,
                    file,
                    total,
                    journal,
                    ways,
                    sizes,
                    processes,
                    max_new_tokens,
                    progress,
                    should_stop,
                )
                walk.go(partial(_answer_all, model, processor, jobs, decoding, journal))
        except KeyboardInterrupt:
            if processes.count == 1:
                _export(out, file, conditions)
            raise
        scores = processes.on_main(partial(_export, out, file, conditions))
    if not scores and not should_stop():
        raise ValueError(f"none of the {total} {plural('sample', total)} in {file} could be answered; {walk.reason}")
    return scores


@dataclass(frozen=True)
class Job:
    """A way to answer, and the budget that it is for."""

    reduction: float
    way: Way = UNPRUNED

    @property
    def method(self) -> str:
        """What the table calls it."""
        return self.way.method.label if self.way.method else ORIGINAL

    @property
    def way_name(self) -> str:
        """What the journal calls it."""
        return f"{self.reduction!r} {self.method}"

    @property
    def counts(self) -> str:
        """What its recipe decides (`PruningRecipe.counts`); nothing for the original model."""
        return self.way.recipe.counts if self.way.recipe else ""

    def __str__(self) -> str:
        return f"{self.method} at {self.reduction:g}"


def jobs_of(
    reductions: Sequence[float] | float, recipe_for: Callable[[float], PruningRecipe], methods: Sequence[Method]
) -> list[Job]:
    """The original model, then every method at every budget above 0, budgets without repetitions.

    Raises ValueError for a budget that cannot be, and for budgets without a method or a source of recipes.
    """
    several = reductions if isinstance(reductions, Iterable) and not isinstance(reductions, str) else [reductions]
    shares = [share for share in dict.fromkeys(check_share("reduction", each) for each in several) if share]
    if shares and not methods:
        raise ValueError("no method is given for the budgets; give one or several, such as fitprune")
    if shares and not callable(recipe_for):
        raise ValueError(
            f"recipe_for is {shown(recipe_for)}; give a function from a share to its recipe, such as lambda _: recipe"
        )
    recipes = {share: recipe_for(share) for share in shares}
    return [Job(0.0), *(Job(share, Way(recipe, method)) for share, recipe in recipes.items() for method in methods)]


def _own_classes(methods: Iterable[Method | None]) -> dict[str, str]:
    """What methods that are not the library's own are and do, as conditions of a run."""
    return {
        f"class of method {method.label}": f"{type(method).__name__} (code {code_digest(type(method))})"
        for method in methods
        if method is not None and not is_known(method)
    }


def _answer_all(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    jobs: Sequence[Job],
    decoding: Decoding,
    journal: Journal,
    tasks: Sequence[Task],
) -> None:
    """Answer samples of one kind in every way that the journal does not hold yet, and keep the answers there."""
    seen = Seen()  # of all of them
    # The original comes first wherever it is missing, so what the others are compared with is always there.
    for job in jobs:
        missing = [task for task in tasks if (task.sample.id, job.way_name) not in journal]
        if not missing:
            continue
        shared = seen if len(missing) == len(tasks) else None
        answers = answer(model, processor, [task.inputs for task in missing], job.way, decoding, seen=shared)
        records = []
        for task, given in zip(missing, answers, strict=True):
            notes = _notes(given, job)
            original = notes if job.way is UNPRUNED else journal.notes(task.sample.id, jobs[0].way_name)
            agrees = original is not None and normalised(original["answer"]) == normalised(notes["answer"])
            notes |= {"agrees": mark(agrees), "expected": on_one_line(task.sample.answer or "")}
            records.append(Record(task.sample.id, task.digest, job.way_name, notes))
        journal.add(records)


def _notes(given: Answer, job: Job) -> dict[str, Any]:
    """What the journal keeps of an answer, by the names of the columns."""
    return {
        "reduction": job.reduction,
        "method": job.method,
        "answer": on_one_line(given.text),
        "new_tokens": len(given.token_ids),
        "visual_tokens": given.cost.visual_tokens,
        "achieved_reduction": given.cost.achieved_reduction,
        "visual_gflops": given.cost.visual / 1e9,
        "total_gflops": given.cost.request.total / 1e9,
        "recipe": job.counts,
        # Batches round their sums differently: the last of more digits would depend on who else was asked.
        "margin": "" if given.margin is None else f"{given.margin:.3f}",
    }


def _export(out: Path, samples: SamplesFile, conditions: Mapping[str, str]) -> list[Score]:
    """Write the table, and sum it up; a journal that nothing could be put into is removed."""
    with Journal(journal_path(out), conditions) as journal:
        scores = export(out, journal, samples, conditions)
    remove_partials(out)
    if not scores:
        remove_journal(journal_path(out))
    return scores
