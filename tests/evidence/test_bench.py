"""What the bench remembers, and what makes it ask again."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace

import pytest
import torch

from app.evidence.bench import Variant, read_rows, variant
from app.evidence.questions import CALIBRATION, FEW, TEST
from fitprune_core import evaluate, fit_recipe
from fitprune_core.evaluation import evaluation
from fitprune_core.evaluation.outcomes import read_results
from fitprune_core.pruning.methods.uniform import Uniform
from fitprune_core.run.results import ORIGINAL
from fitprune_core.samples.files import read_samples
from tests.evidence.conftest import SMALLEST
from tests.tiny import tiny_llava

pytestmark = pytest.mark.slow


@pytest.fixture
def asked(monkeypatch):
    """Counts what is answered: (budget and method or nothing, how many prompts)."""
    counted = []

    def counting(model, processor, prompts, way, decoding, **options):
        label = way.method.label if way.method else "original"
        counted.extend([label] * len(prompts))
        return answer(model, processor, prompts, way, decoding, **options)

    answer = evaluation.answer
    monkeypatch.setattr(evaluation, "answer", counting)
    return counted


def recipes(bench, *budgets):
    return bench.recipes(bench.statistics(bench.sets[CALIBRATION]), budgets)


def test_answers_are_those_of_evaluate(make_bench, tmp_path, tiny):
    bench = make_bench()
    (recipe,) = recipes(bench, 0.6)
    variants = [variant("fitprune", recipe, "a name of its own"), variant("random:seed=3", recipe)]
    board = bench.answers("some", bench.sets[TEST], variants)
    evaluate(*tiny, bench.sets[TEST].file, [0.6], lambda _: recipe, tmp_path / "plain.csv",
             methods=["fitprune", "random:seed=3"], max_new_tokens=SMALLEST.max_new_tokens)  # fmt: skip
    plain, ours = read_results(tmp_path / "plain.csv"), read_results(board.path)
    assert [side.method for side in ours.sides] == ["original", "a name of its own", "random(seed=3)"]
    assert [side.answers for side in ours.sides] == [side.answers for side in plain.sides]
    assert ours.questions == plain.questions and board.count == SMALLEST.test


def test_a_second_run_asks_nothing_and_another_set_or_variant_only_its_own(make_bench, asked):
    bench = make_bench()
    one, other = recipes(bench, 0.4, 0.6)
    test = bench.sets[TEST]
    bench.answers("a", test, [variant("fitprune", one), variant("random", one)])
    assert sorted(asked) == ["fitprune"] * 4 + ["original"] * 4 + ["random"] * 4
    asked.clear()
    again = make_bench()
    again.answers("b", again.sets[TEST], [variant("random", one), variant("fitprune", one)])
    assert asked == []
    again.answers("b", again.sets[TEST], [variant("random", one), variant("random", other)])
    assert asked == ["random"] * 4
    asked.clear()
    again.answers("c", again.sets[FEW], [variant("random", one)])
    assert asked == ["original"] * 3  # the few are some of the test questions
    ids = {sample.id for sample in read_samples(again.sets[FEW].file)}
    test, few = (
        [row for row in read_rows(again.out / "raw" / f"{name}.csv") if row["method"] == "random"] for name in "ac"
    )
    assert few == [row for row in test if row["id"] in ids] and len(few) == 3


def test_a_changed_method_is_asked_again_and_no_other(make_bench, asked, monkeypatch):
    bench = make_bench()
    (recipe,) = recipes(bench, 0.6)
    variants = [variant("fitprune", recipe), variant("uniform", recipe)]
    bench.answers("a", bench.sets[TEST], variants)
    asked.clear()
    digest = bench_digest(monkeypatch)
    bench.answers("a", bench.sets[TEST], variants)
    assert asked == ["uniform"] * 4 and digest


def bench_digest(monkeypatch):
    """As if the code of uniform had changed."""
    from app.evidence import bench as module

    known = module.method_digest
    monkeypatch.setattr(module, "method_digest", lambda method: known(method) + "x" * isinstance(method, Uniform))
    return known


def test_a_changed_checkpoint_begins_anew(make_bench, asked):
    bench = make_bench()
    bench.answers("a", bench.sets[TEST], [])
    asked.clear()
    other = make_bench(model=tiny_llava(seed=1))
    assert other.folder != bench.folder
    other.answers("a", other.sets[TEST], [])
    assert asked == ["original"] * 4
    asked.clear()
    bench.answers("a", bench.sets[TEST], [])
    assert asked == []


def test_a_run_that_was_stopped_goes_on(make_bench, asked, monkeypatch):
    bench = make_bench()
    (recipe,) = recipes(bench, 0.6)
    counting = evaluation.answer

    def failing(model, processor, prompts, way, decoding, **options):
        if asked.count("fitprune") == 2:
            raise KeyboardInterrupt
        return counting(model, processor, prompts, way, decoding, **options)

    monkeypatch.setattr(evaluation, "answer", failing)
    with pytest.raises(KeyboardInterrupt):
        bench.answers("a", bench.sets[TEST], [variant("fitprune", recipe)])
    monkeypatch.setattr(evaluation, "answer", counting)
    board = bench.answers("a", bench.sets[TEST], [variant("fitprune", recipe)])
    assert asked.count("fitprune") == asked.count("original") == 4
    assert board.right(("fitprune", 0.6)).asked == 4


def test_what_cannot_answer_is_named_and_leaves_the_rest_alone(make_bench):
    @dataclass(frozen=True, kw_only=True)
    class Refusing(Uniform):
        name = "refusing"

        def importance(self, attention, candidates) -> torch.Tensor:
            raise ValueError("not for this model")

    bench = make_bench()
    (recipe,) = recipes(bench, 0.6)
    board = bench.answers("a", bench.sets[TEST], [Variant("refusing", Refusing(), recipe), variant("random", recipe)])
    assert board.refused == {"refusing at 60 %": "not for this model"}
    assert board.right(("refusing", 0.6)) is None and board.right(("random", 0.6)).asked == 4


def test_budgets_that_cannot_be_met_are_left_out(make_bench, caplog):
    bench = make_bench()
    found = recipes(bench, 0.5, 0.99)
    assert [recipe.reduction for recipe in found] == [0.5] and "left out the budget 0.99" in caplog.text


def test_statistics_are_collected_once(make_bench, monkeypatch):
    bench = make_bench()
    first = bench.statistics(bench.sets[CALIBRATION])
    again = make_bench()
    monkeypatch.setattr("app.evidence.bench.calibrate", lambda *_, **__: pytest.fail("collected again"))
    assert fit_recipe(again.statistics(again.sets[CALIBRATION]), 0.5) == fit_recipe(first, 0.5)
    assert first.num_samples == SMALLEST.calibration


def test_raw_rows_are_whole(make_bench):
    bench = make_bench(plan=replace(SMALLEST, test=2, few=2))
    path = bench.answers("a", bench.sets[TEST], []).path
    with path.open(newline="") as file:
        assert len({len(row) for row in csv.reader(file)}) == 1
    assert [row["method"] for row in read_rows(path)] == ["original"] * 2


def test_methods_by_one_recipe_are_asked_together_and_remembered_apart(make_bench, asked, monkeypatch):
    from app.evidence import bench as module

    runs, evaluating = [], module.evaluate
    monkeypatch.setattr(module, "evaluate", lambda *args, **kwargs: runs.append(kwargs) or evaluating(*args, **kwargs))
    bench = make_bench()
    one, other = recipes(bench, 0.4, 0.6)
    variants = [variant("fitprune", one), variant("random", other), variant("random", one), variant("uniform", one)]
    board = bench.answers("a", bench.sets[TEST], variants)
    assert [[method.label for method in run["methods"]] for run in runs] == [
        [], ["fitprune", "random", "uniform"], ["random"]
    ]  # fmt: skip
    ahead, (_, *rest) = make_bench(), variants
    assert [reason for *_, reason in ahead.answer_ahead(ahead.sets[TEST], variants)] == [""] * 4
    assert ahead.answers("c", ahead.sets[TEST], rest).ways == [(ORIGINAL, 0.0), *((v.name, v.reduction) for v in rest)]
    assert len(runs) == 3
    tables = [bench._table(bench.sets[TEST], each) for each in variants]
    assert sorted(bench._table(bench.sets[TEST], None).parent.glob("*.csv")) == sorted(
        {*tables, bench._table(bench.sets[TEST], None)}
    )
    asked.clear()
    alone = make_bench()
    for table in tables:
        table.unlink()
    apart = [alone.answers(f"b{at}", alone.sets[TEST], [each]) for at, each in enumerate(variants)]
    assert asked.count("original") == 0 and len(asked) == 4 * len(variants)
    for each, single in zip(variants, apart, strict=True):
        way = each.name, each.reduction
        mine, theirs = ([row for row in read_rows(of.path) if row["method"] == each.name
                         and float(row["reduction"]) == each.reduction] for of in (board, single))  # fmt: skip
        assert mine == theirs and len(mine) == 4 and board.right(way) == single.right(way)


def test_a_way_that_cannot_be_asked_some_questions_costs_the_others_none(make_bench):
    @dataclass(frozen=True, kw_only=True)
    class Moody(Uniform):
        name = "moody"

        def importance(self, attention, candidates) -> torch.Tensor:
            if attention.num_visual_tokens == 36 and attention.query.shape[1] != first:
                raise ValueError("not this one")
            return super().importance(attention, candidates)

    bench = make_bench()
    lengths = [prompt["input_ids"].shape[1] for _, prompt in bench.prompts(bench.sets[TEST])]
    first = lengths[0]
    assert 0 < lengths.count(first) < 4
    (recipe,) = recipes(bench, 0.6)
    board = bench.answers("a", bench.sets[TEST], [Variant("moody", Moody(), recipe), variant("random", recipe)])
    assert board.right(("random", 0.6)).asked == 4
    assert board.right(("moody", 0.6)).asked == lengths.count(first)
