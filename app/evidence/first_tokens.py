"""What a model thinks of the first token of an answer, as it is and pruned; remembered sample by sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from transformers import BatchFeature, PreTrainedModel

from app.evidence.bench import Bench, Variant
from app.evidence.fingerprints import NEXT_TOKENS, digest_of, method_digest, room_digest
from app.evidence.questions import Questions
from fitprune_core.run.answer import UNPRUNED, Way
from fitprune_core.run.batch import BatchSize
from fitprune_core.run.next_tokens import divergence, margin, next_token
from fitprune_core.samples.files import read_samples
from fitprune_core.samples.journal import Journal, Record, journal_path, shared_journal
from fitprune_core.samples.loop import Task, Walk

# Of every variant and question: the margins of both first tokens and how far the distributions lie apart.
COLUMNS = ("id", "variant", "budget", "margin_original", "margin_pruned", "divergence")


def first_tokens(bench: Bench, questions: Questions, variants: Sequence[Variant]) -> list[dict[str, object]]:
    """Rows of `COLUMNS` for every question, and every variant that can answer at all."""
    keys = {
        f"{each.name} {each.reduction!r} "
        f"{digest_of(each.recipe.removed, each.recipe.num_visual_tokens, method_digest(each.method))}": each
        for each in variants
        if not bench.misfit(each)
    }
    out = bench.folder / "first-tokens" / f"{questions.digest}-{room_digest(*NEXT_TOKENS)}"
    _look_up(bench, questions, keys, out)
    return bench.once(partial(_looked_up, bench, questions, keys, out))


def _look_up(bench: Bench, questions: Questions, keys: Mapping[str, Variant], out: Path) -> None:
    """Remember what is missing of this process's share of the questions."""
    progress = partial(bench.progress, f"{questions.name}: first tokens")
    with shared_journal(out, bench.conditions, bench.processes) as journal:
        walk = Walk(
            bench.model,
            bench.processor,
            questions.file,
            questions.count,
            journal,
            list(keys),
            BatchSize(1),
            bench.processes,
            progress=progress,
        )
        walk.go(partial(_look, bench.model, keys, journal))


def _look(model: PreTrainedModel, keys: Mapping[str, Variant], journal: Journal, tasks: Sequence[Task]) -> None:
    for task in tasks:
        missing = {key: each for key, each in keys.items() if (task.sample.id, key) not in journal}
        notes = _notes(model, task.inputs, missing)
        journal.add([Record(task.sample.id, task.digest, key, values) for key, values in notes.items()])


def _looked_up(bench: Bench, questions: Questions, keys: Mapping[str, Variant], out: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    with Journal(journal_path(out), bench.conditions) as journal:
        for sample in read_samples(questions.file):
            for key, each in keys.items():
                if notes := journal.notes(sample.id, key):
                    rows.append({"id": sample.id, "variant": each.name, "budget": each.reduction, **notes})
    return rows


def _notes(model: PreTrainedModel, prompt: BatchFeature, variants: Mapping[str, Variant]) -> dict[str, dict]:
    original = next_token(model, prompt, UNPRUNED)
    found = {}
    for key, each in variants.items():
        pruned = next_token(model, prompt, Way(each.recipe, each.method))
        found[key] = {
            "margin_original": margin(original),
            "margin_pruned": margin(pruned),
            "divergence": divergence(original, pruned),
        }
    return found
