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
from fitprune_core.run.next_tokens import divergence, margin, next_token
from fitprune_core.samples.journal import Journal, Record
from fitprune_core.samples.journal import digest_of as sample_digest

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
    path = bench.folder / "first-tokens" / f"{questions.digest}-{room_digest(*NEXT_TOKENS)}.journal"
    return bench.once(partial(_looked_up, bench, questions, keys, path))


def _looked_up(bench: Bench, questions: Questions, keys: Mapping[str, Variant], path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    with Journal(path, bench.conditions) as journal:
        for done, (sample, prompt) in enumerate(bench.prompts(questions), 1):
            missing = {key: each for key, each in keys.items() if (sample.id, key) not in journal}
            if missing:
                notes = _notes(bench.model, prompt, missing)
                digest = sample_digest(sample)
                journal.add([Record(sample.id, digest, key, values) for key, values in notes.items()])
                bench.progress(f"{questions.name}: first tokens", done, questions.count)
            for key, each in keys.items():
                about = {"id": sample.id, "variant": each.name, "budget": each.reduction}
                rows.append({**about, **(journal.notes(sample.id, key) or {})})
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
