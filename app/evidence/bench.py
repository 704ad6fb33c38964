"""The bench: answers questions, collects statistics and fits recipes, each once, and remembers all of it on the disk.

What is remembered lies in a folder of the model's conditions (its weights above all), under a digest of whatever else
it depends on: questions and pictures, recipe, method and its code. So a run that was stopped goes on, a changed
checkpoint begins anew, and a changed method or calibration answers its own questions again and no other.
"""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from app.demo_model.crowded import WORLDS
from app.evidence.board import Board
from app.evidence.fingerprints import ANSWERS, OBSERVED, digest_of, method_digest, room_digest
from app.evidence.plan import FURTHER_CALIBRATION_SEEDS, Plan
from app.evidence.questions import (
    EASY_VQA,
    FEW,
    TEST,
    Questions,
    drawn,
    easy_vqa,
    easy_vqa_to_calibrate,
    further_calibrations,
    parts_of,
    world_sets,
)
from fitprune_core import (
    AttentionStatistics,
    DecoderGeometry,
    Method,
    PruningRecipe,
    calibrate,
    evaluate,
    fit_recipe,
    model_name,
)
from fitprune_core.checks.files import written_whole
from fitprune_core.models.loading import load_model
from fitprune_core.models.provenance import conditions_of
from fitprune_core.pruning.methods import find_method
from fitprune_core.run.answer import Way, answer
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.results import ORIGINAL
from fitprune_core.samples.files import Sample, SamplesFile, read_samples
from fitprune_core.samples.journal import journal_path, remove_journal
from fitprune_core.samples.loop import prompt_of
from fitprune_core.samples.processes import Processes

logger = logging.getLogger(__name__)

# Columns of the raw rows: of `evaluation.table.Row`, without what the report says once for all of them.
COLUMNS = (
    *("id", "reduction", "method", "answer", "expected", "correct", "agrees", "new_tokens", "visual_tokens"),
    *("achieved_reduction", "visual_gflops", "total_gflops", "model", "weights", "kind", "question", "image", "margin"),
)


@dataclass(frozen=True)
class Variant:
    """One way to answer, and what a section's tables call it."""

    name: str
    method: Method
    recipe: PruningRecipe

    @property
    def reduction(self) -> float:
        """The share of visual FLOPs that was asked for."""
        return self.recipe.reduction


def variant(method: str | Method, recipe: PruningRecipe, name: str | None = None) -> Variant:
    """A variant by the name of its method ("random:seed=1"), called by its label unless it has a name of its own."""
    found = find_method(method)
    return Variant(name or found.label, found, recipe)


class Bench:
    """Everything that a section may ask for.

    Attributes:
        model, processor, plan: what is asked, and how much. title: what the report calls the model.
        geometry: sizes of the model's decoder.
        sets: the questions, by the names of `questions`; EASY_VQA only where the package is.
        also: checkpoints of other models that are asked the same.
        has_world: whether the model knows the drawn world, so that sets may be drawn from it.
        out: the folder of the report; raw rows lie in `out / "raw"`.
        folder: what is remembered of this model.
        processes: those that share the answering.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        plan: Plan,
        out: Path,
        cache: Path,
        *,
        given: SamplesFile | None = None,
        processes: Processes | None = None,
        batch_size: int | str = 1,
        progress: Callable[[str, int, int], None] = lambda what, done, total: None,
        also: Sequence[str] = (),
        load: Callable[[str], tuple[PreTrainedModel, ProcessorMixin]] | None = None,
        title: str = "",
    ) -> None:
        """given: a samples file to ask instead of the drawn world. cache: folder for what is remembered of any model.

        progress: called with what is being done, samples done and samples in all. also: checkpoints of other models to
        ask, which `load` loads. title: what the report calls the model, if not by its own name. Raises ValueError for a
        samples file that cannot be cut in three.
        """
        self.model, self.processor, self.plan, self.out = model, processor, plan, out
        self.processes, self.batch_size, self.progress = processes or Processes(), batch_size, progress
        self.geometry = DecoderGeometry.from_config(model.config)
        self.title = title or Path(model_name(model)).name
        self.conditions = conditions_of(model, processor)
        self.has_world = given is None
        self.also, self._load, self._cache = tuple(also), load or load_model, cache
        self.drawings = cache / "questions"
        self.folder = cache / f"{Path(model_name(model)).name}-{digest_of(self.conditions, plan.max_new_tokens)}"
        self._given = given
        self.sets = self.processes.on_main(self._sets)
        self._loaded: dict[str, AttentionStatistics] = {}

    def _sets(self) -> dict[str, Questions]:
        if self._given is not None:
            return parts_of(self._given, self.plan, self.drawings)
        found = world_sets(self.plan, self.drawings)
        easy = easy_vqa(self.plan.easy_vqa, self.drawings)
        return found if easy is None else {**found, EASY_VQA: easy}

    def with_others(self) -> Iterator[Bench]:
        """This bench, and one of each other model with the same questions; each is loaded when its turn comes."""
        yield self
        for name in self.also:
            model, processor = self.processes.agree(partial(self._load, name))
            yield Bench(
                model,
                processor,
                self.plan,
                self.out,
                self._cache,
                given=self._given,
                processes=self.processes,
                batch_size=self.batch_size,
                progress=self.progress,
                title=Path(name).name,
            )

    def drawn(
        self, name: str, count: int, seed: int, worlds: Sequence[str] = tuple(WORLDS), *, to_answer: bool = False
    ) -> Questions:
        """A set from the drawn world, of these kinds of scene alone, see `questions.drawn`."""
        return self.processes.on_main(partial(drawn, name, count, seed, self.drawings, worlds, to_answer=to_answer))

    def easy_vqa_to_compare(self) -> Questions | None:
        """What fitprune+ and its rivals are asked of easy-VQA: all of its test split, if the plan says so."""
        if self.plan.whole_easy_vqa and EASY_VQA in self.sets:
            return self.once(partial(easy_vqa, None, self.drawings))
        return self.sets.get(EASY_VQA)

    def easy_vqa_to_calibrate(self) -> Questions:
        """Samples of easy-VQA whose pictures `sets[EASY_VQA]` does not ask about, as many as recipes have."""
        work = partial(easy_vqa_to_calibrate, self.plan.calibration, self.sets[EASY_VQA], self.drawings)
        return self.processes.on_main(work)

    def further_calibrations(self) -> list[Questions]:
        """Sets to calibrate on that have no sample in common; processes share the drawing."""
        own = [FURTHER_CALIBRATION_SEEDS[at] for at in self.processes.share(len(FURTHER_CALIBRATION_SEEDS))]
        self.processes.agree(partial(further_calibrations, self.plan, self.drawings, own))
        return self.processes.on_main(partial(further_calibrations, self.plan, self.drawings))

    def once(self, work: Callable[[], Any]) -> Any:
        """What the main process finds; the others wait for it."""
        return self.processes.on_main(work)

    def statistics(self, questions: Questions) -> AttentionStatistics:
        """The statistics of the model over a set."""
        key = digest_of(questions.digest, room_digest(*OBSERVED))
        path = self.folder / "statistics" / f"{key}.npz"
        if not self.once(path.is_file):
            what = f"statistics of {questions.name}"
            calibrate(
                self.model,
                self.processor,
                questions.file,
                path,
                batch_size=self.batch_size,
                progress=partial(self.progress, what),
                processes=self.processes,
            )
        if key not in self._loaded:
            self._loaded[key] = AttentionStatistics.load(path)
        return self._loaded[key]

    def recipes(self, statistics: AttentionStatistics, budgets: Iterable[float], **options: Any) -> list[PruningRecipe]:
        """A recipe for each budget that can be met at all; options are those of `fit_recipe`."""
        found = []
        for budget in budgets:
            try:
                found.append(fit_recipe(statistics, budget, **options))
            except ValueError as error:
                logger.warning("left out the budget %g: %s", budget, error)
        return found

    def answers(self, name: str, questions: Questions, variants: Sequence[Variant]) -> Board:
        """What the model and each of the variants answer; the rows go to `out / "raw" / f"{name}.csv"`.

        Every number of a section is read back from there. What cannot answer is among the board's `refused`.
        """
        answered = self.answer_ahead(questions, variants)
        rows, refused = list(self._rows(questions, None)), {}
        wanted = {sample.id for sample in read_samples(questions.file)}
        for among, each, reason in answered:
            found = [row for row in self._rows(among, each) if row["id"] in wanted] if not reason else []
            if not reason and not found:
                reason = "it answered none of the questions"
            if reason:
                refused[f"{each.name} at {100 * each.reduction:.3g} %"] = reason
            rows += [row | {"method": each.name} for row in found]
        return Board(self.write(name, COLUMNS, rows), refused)

    def answer_ahead(self, questions: Questions, variants: Sequence[Variant]) -> list[tuple[Questions, Variant, str]]:
        """Answer what is not remembered: of all that several boards will speak of, methods by one recipe go together.

        Returns of each variant among which questions its answers are, and why it cannot answer, or nothing.
        """
        if not self._is_answered(questions, None):
            self._evaluate(questions, self._table(questions, None), ORIGINAL)
        asked = [(self._asked_with(questions, each), each) for each in variants]
        found = [(*each, self._refusal(*each)) for each in asked]
        self._ask_all((among, each) for among, each, reason in found if not reason)
        return found

    def write(self, name: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> Path:
        """Write raw rows to `out / "raw" / f"{name}.csv"`; returns the file."""
        path = self.out / "raw" / f"{name}.csv"
        self.once(partial(write_rows, path, columns, rows))
        return path

    def _table(self, questions: Questions, each: Variant | None) -> Path:
        folder = self.folder / "answers" / questions.digest
        if each is None:
            return folder / f"original-{room_digest(*ANSWERS)}.csv"
        key = digest_of(each.recipe.removed, each.recipe.num_visual_tokens, each.reduction, method_digest(each.method))
        return folder / f"{each.method.name}-{key}.csv"

    def prompts(self, questions: Questions) -> Iterator[tuple[Sample, BatchFeature]]:
        """The samples of a set with their prompts (CPU), but for those that cannot be asked: a damaged picture, say."""
        for sample in read_samples(questions.file):
            try:
                prompt = prompt_of(self.model, self.processor, sample)
            except (ValueError, MemoryError) as error:
                logger.warning("left out sample %s (%s): %s", sample.id, sample.place, error)
                continue
            yield sample, prompt

    def misfit(self, each: Variant) -> str:
        """Why no prompt of the model can be answered by a variant, or nothing."""
        try:
            Way(each.recipe, each.method).warnings_on(self.model, self.processor)
        except ValueError as error:
            return str(error)
        return ""

    def _refusal(self, questions: Questions, each: Variant) -> str:
        """Why a variant cannot answer at all, or nothing: found by asking it for one token of the first question."""

        def tried() -> str:
            if self._table(questions, each).is_file():
                return ""
            way = Way(each.recipe, each.method)
            try:
                for _, prompt in islice(self.prompts(questions), 1):
                    answer(self.model, self.processor, [prompt], way, Decoding(1))
            except ValueError as error:
                return str(error)
            return ""

        return self.misfit(each) or self.once(tried)

    def _rows(self, questions: Questions, each: Variant | None) -> Iterable[dict[str, str]]:
        """The remembered rows of one variant, or of the original."""
        method = ORIGINAL if each is None else each.method.label
        return (row for row in read_rows(self._table(questions, each)) if row["method"] == method)

    def _ask_all(self, asked: Iterable[tuple[Questions, Variant]]) -> None:
        """Answer what is not remembered. Methods by one recipe go together: they share prompts and the tower's work."""
        groups: dict[tuple[Any, ...], tuple[Questions, dict[Path, Variant]]] = {}
        for questions, each in asked:
            if not self._is_answered(questions, each):
                key = questions.digest, each.reduction, each.recipe.removed, each.recipe.num_visual_tokens
                groups.setdefault(key, (questions, {}))[1][self._table(questions, each)] = each
        for questions, group in groups.values():
            self._ask(questions, list(group.values()))
            for each in group.values():
                # A sample that one way cannot be asked is left out of those after it; by itself a way has its own.
                if len(group) > 1 and not self._is_answered(questions, each):
                    self._ask(questions, [each])

    def _ask(self, questions: Questions, group: Sequence[Variant]) -> None:
        """Answer the questions in the ways of a group, which have a recipe in common.

        What is done lies in a table of all of them until every one has its own.
        """
        original, recipe = self._table(questions, None), group[0].recipe
        tables = {each.method.label: self._table(questions, each) for each in group}
        together = original.with_name(f"together-{digest_of(*sorted(table.stem for table in tables.values()))}.csv")
        self.once(partial(_copy, journal_path(original), journal_path(together)))
        ways = group[0].name if len(group) == 1 else f"{group[0].name} and {len(group) - 1} more"
        what = f"{ways} {100 * recipe.reduction:.3g} %"
        self._evaluate(questions, together, what, recipe, [each.method for each in group])
        self.once(partial(_apart, together, tables))

    def _evaluate(
        self,
        questions: Questions,
        table: Path,
        what: str,
        recipe: PruningRecipe | None = None,
        methods: Sequence[Method] = (),
    ) -> None:
        """Answer the questions as the original does, and by methods with a recipe. what: for the progress."""
        evaluate(
            self.model,
            self.processor,
            questions.file,
            [] if recipe is None else [recipe.reduction],
            lambda _: recipe,  # type: ignore[arg-type, return-value]  # not called for the original
            table,
            methods=methods,
            max_new_tokens=self.plan.max_new_tokens,
            batch_size=self.batch_size,
            progress=partial(self.progress, f"{questions.name}: {what}"),
            processes=self.processes,
        )

    def _asked_with(self, questions: Questions, each: Variant) -> Questions:
        """The questions among which a variant answers these: the few are some of the test questions."""
        test = self.sets[TEST]
        return test if questions is self.sets[FEW] and self._is_answered(test, each) else questions

    def _is_answered(self, questions: Questions, each: Variant | None) -> bool:
        """Whether all of a variant's answers are remembered, with the original's beside them."""
        table, wanted = self._table(questions, each), questions.count * (1 if each is None else 2)
        # Asked in one process: what the others write meanwhile must not make them go different ways.
        return self.once(lambda: table.is_file() and sum(1 for _ in read_rows(table)) >= wanted)


def read_rows(path: Path) -> Iterable[dict[str, str]]:
    """The rows of a CSV file, by their columns."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as CSV, of each only these columns; a file is replaced whole."""
    with written_whole(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _apart(together: Path, tables: Mapping[str, Path]) -> None:
    """Give each way of a table a table of its own, with the original's answers, and remove the one of all.

    tables: by the labels of their methods.
    """
    rows = list(read_rows(together))
    for method, table in tables.items():
        write_rows(table, list(rows[0]), [row for row in rows if row["method"] in (ORIGINAL, method)])
    remove_journal(journal_path(together))
    together.unlink()


def _copy(original: Path, journal: Path) -> None:
    """Begin a journal with what the original answered, so that it is asked once and not for every variant."""
    if not journal.exists():
        with original.open("rb") as source, written_whole(journal) as file:
            shutil.copyfileobj(source, file)
