"""The whole program on the tiny random model: every section is there, and its numbers are those of the raw rows."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path

import pytest

from app.evidence import plan, report
from app.evidence.__main__ import main
from app.evidence.bench import Bench
from app.evidence.elsewhere import FAMILIES
from app.evidence.sections import flips, methods
from fitprune_core import METHODS, build_inputs
from fitprune_core.evaluation import evaluation
from fitprune_core.evaluation.outcomes import read_results, summaries
from tests.evidence.conftest import SIX_SHAPES, SMALLEST, put_easy_vqa
from tests.tiny import random_picture, tiny_llava

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = (
    *("accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m"),
)
SECTIONS = len(report.SECTIONS)
LONGEST = 3  # tokens of an answer of the tiny model, which would never end one


def sections_of(text: str) -> dict[str, str]:
    """The text under each numbered heading."""
    parts = re.split(r"^## (?=\d)", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part for part in parts}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table_under(text: str, first_cell: str) -> dict[str, list[str]]:
    """The first table whose header begins with a cell: first cell of a row to the others; the header under its own."""
    lines = text[text.index(f"| {first_cell} |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in (cells[0], *cells[2:])}


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """A function that makes a bench, always over the same folders, and the report that the first of them made."""
    folder = tmp_path_factory.mktemp("evidence")

    def make_bench() -> Bench:
        others = {"shallow": tiny_llava(num_layers=3, seed=1), "twin": tiny_llava(num_layers=4, seed=2)}
        return Bench(*tiny, SMALLEST, folder / "out", folder / "cache", also=others, load=others.__getitem__)

    with pytest.MonkeyPatch.context() as patch:
        put_easy_vqa(folder, patch, SIX_SHAPES)
        yield make_bench, report.make(make_bench()).read_text()


@pytest.mark.slow
class TestDrawnWorld:
    def test_every_section_is_there(self, made):
        make_bench, text = made
        out = make_bench().out
        found = sections_of(text)
        assert [title.partition(".")[0] for title in found] == [str(number) for number in range(1, SECTIONS + 2)]
        assert "check of the pipeline" in text and "Left out" not in text
        assert all(family.checkpoint in text for family in FAMILIES)
        for part in list(found.values())[:SECTIONS]:
            assert re.search(r"^\*\*[A-Z].*\.\*\*$", part, re.MULTILINE), part[:200]
            assert "Counted: " in part and "Measured: " in part and "Quoted: " in part
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (out / link).is_file(), link
        # Each answer of the list leads to its section, by the anchor that Markdown makes of a heading.
        answers = re.findall(r"^\d+\. \[[^]]+\]\(#([^)]+)\): .*\.$", text, re.MULTILINE)
        anchors = [re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in found]
        assert answers == anchors[:SECTIONS]
        seeds = (plan.CALIBRATION_SEED, plan.CHOICE_SEED, plan.TEST_SEED)
        assert all(f"seed {seed}" in text for seed in seeds) and "seeds 11, 12, 13, 14 and 15" in text

    def test_a_second_run_asks_nothing(self, made, monkeypatch):
        make_bench, text = made

        def refuse(*_, **__):
            raise AssertionError("asked anew")

        monkeypatch.setattr(evaluation, "answer", refuse)
        sections = ("sections.costs.answer", "sections.two_fits.fit_recipe_sequential", "first_tokens.next_token")
        for name in ("bench.calibrate", "bench.answer", *sections):
            monkeypatch.setattr(f"app.evidence.{name}", refuse)
        assert report.make(make_bench()).read_text() == text

    def test_numbers_are_those_of_the_raw_rows(self, made):
        make_bench, text = made
        found, raw = list(sections_of(text).values()), make_bench().out / "raw"
        self.shares(found[0], raw / "1-methods.csv")
        self.distances(found[3], rows_of(raw / "4-distances.csv"))
        self.savings(found[6], rows_of(raw / "7-costs.csv"))
        self.orders(found[0], rows_of(raw / "1-methods-orders.csv"))
        self.predictions(found[5], raw)
        self.models(found[10], raw)

    def shares(self, text, path):
        counts, total = defaultdict(lambda: [0, 0, 0]), defaultdict(float)
        for row in rows_of(path):
            counts[row["method"]][0] += row["correct"] == "1"
            counts[row["method"]][1] += row["agrees"] == "1"
            counts[row["method"]][2] += 1
            total[row["method"]] += float(row["total_gflops"])
        assert counts.keys() == {"original", *METHODS, methods.PAPERS_RULE}
        right, requests = table_under(text, "right"), table_under(text, "way")
        for name, (is_right, agrees, asked) in counts.items():
            assert right[name][0].startswith(f"{100 * is_right / asked:.1f} [")
            if name != "original":
                same, whole = requests[name]
                assert same.startswith(f"{100 * agrees / asked:.1f} [") and whole == f"{total[name] / asked:.3f}"

    def orders(self, text, rows):
        table, shares = table_under(text, "order"), []
        for name in ("random", "random(seed=1)", "random(seed=2)"):
            right = [row["correct"] == "1" for row in rows if row["method"] == name]
            shares.append(100 * sum(right) / len(right))
            assert table[f"{name}, 80 %"][0].startswith(f"{shares[-1]:.1f} [")
        assert table["mean of 3 orders, 80 %"][0].startswith(f"{sum(shares) / 3:.1f} [")

    def distances(self, text, rows):
        table = table_under(text, "samples")
        fits = list(dict.fromkeys(row["fit"] for row in rows))
        for size, (column, fit) in product({row["size"] for row in rows}, enumerate(fits)):
            values = [float(row["distance"]) for row in rows if (row["size"], row["fit"]) == (size, fit)]
            assert len(values) == 5 and table[size][column].startswith(f"{100 * sum(values) / 5:.1f} [")

    def savings(self, text, rows):
        table = table_under(text, "budget")
        whole = next(row for row in rows if row["method"] == "original")
        for row in rows:
            if row["method"] == "fitprune" and row["budget"] == "0.8":
                columns = ("visual_flops", "prefill_flops", "total_flops", "kv_cache_bytes")
                expected = [100 * (1 - float(row[name]) / float(whole[name])) for name in columns]
                assert [cell.split(" ")[0] for cell in table["fitprune 80 %"][:4]] == [f"{x:.1f}" for x in expected]

    def predictions(self, text, raw):
        answers = {(row["method"], row["id"]): row["answer"] for row in rows_of(raw / "6-answers.csv")}
        tokens = [row for row in rows_of(raw / "6-first-tokens.csv") if row["variant"] == "random"]
        flips_of = {row["id"]: answers["random", row["id"]] != answers["original", row["id"]] for row in tokens}
        changed, same = (
            [float(row["divergence"]) for row in tokens if flips_of[row["id"]] is is_flip] for is_flip in (True, False)
        )
        cells = table_under(text, "method")["random 80 %"]
        every = {(row["method"], row["id"]): row for row in rows_of(raw / "1-methods.csv")}
        flipped, stayed = (
            [float(row["margin"]) for (method, _), row in every.items() if method == "random" and row["agrees"] == mark]
            for mark in ("0", "1")
        )
        marked = table_under(text, "way")["random, 80 %"]
        assert marked[0] == f"{len(flipped)} of {len(flipped) + len(stayed)}"
        if flipped and stayed:
            wins = [(a < b) + 0.5 * (a == b) for a, b in product(flipped, stayed)]
            assert marked[1].startswith(f"{sum(wins) / len(wins):.2f} [")
        assert cells[0] == f"{len(changed)} of {len(tokens)}"
        if changed and same:
            wins = [(a > b) + 0.5 * (a == b) for a, b in product(changed, same)]
            assert cells[2 + flips.NUMBERS.index("first tokens' divergence")].startswith(
                f"{sum(wins) / len(wins):.2f} ["
            )

    def models(self, text, raw):
        table = table_under(text, "model: way")
        twins = [rows_of(raw / f"5-transfer-model-{number}.csv") for number in (1, 2)]
        assert len({row["weights"] for rows in twins for row in rows}) == 2
        own = rows_of(raw / "11-models-1.csv")[0]["model"]
        for number, name in enumerate((f"{own} (4 layers)", "shallow (3 layers)", "twin (4 layers)"), 1):
            rows = rows_of(raw / f"11-models-{number}.csv")
            for method in {row["method"] for row in rows} - {"original"}:
                right = [row["correct"] == "1" for row in rows if row["method"] == method]
                assert table[f"{name}: {method}, 80 %"][0].startswith(f"{100 * sum(right) / len(right):.1f} [")

    def test_inspect_opens_the_raw_answers(self, made):
        make_bench, _ = made
        opened = 0
        for path in sorted((make_bench().out / "raw").glob("*.csv")):
            if "method" in rows_of(path)[0] and "answer" in rows_of(path)[0]:
                assert summaries(read_results(path))[0].name == "original"
                opened += 1
        assert opened >= 8


@pytest.fixture
def samples(tmp_path, tiny):
    """120 questions about 60 pictures; every second right answer is what the tiny model says."""
    import torch

    model, processor = tiny
    lines = []
    for number in range(120):
        picture, question = random_picture(seed=number // 2), f"What is {number}?"
        picture.save(tmp_path / f"{number // 2}.png")
        answer = "a key"
        if number % 2:
            inputs = build_inputs(processor, picture, question)
            with torch.no_grad():
                ids = model.generate(**inputs, do_sample=False, max_new_tokens=LONGEST)
            answer = processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        entry = {
            "id": f"s{number}",
            "image": f"{number // 2}.png",
            "question": question,
            "kind": "odd" if number % 2 else "even",
        }
        lines.append(json.dumps(entry | {"answer": answer.strip() or "a key"}))
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.slow
def test_another_model_takes_a_file_and_leaves_out_what_needs_the_drawn_world(tiny_folder, samples, tmp_path, capsys):
    out, cache = tmp_path / "out", tmp_path / "cache"
    where = ["--model", str(tiny_folder), "--samples", str(samples), "--out", str(out), "--cache", str(cache)]
    main([*where, "--quick", "--max-new-tokens", str(LONGEST), "--few", "3"])
    text = (out / "report.md").read_text()
    assert capsys.readouterr().out.strip() == str(out / "report.md")
    found = list(sections_of(text).values())
    left_out = [number for number, part in enumerate(found, 1) if "Left out: " in part]
    assert left_out == [4, 5, 11] and len(found) == SECTIONS + 1
    assert "easy-VQA was not asked" in text and "samples of samples.jsonl" in text
    right = table_under(found[0], "kind, 80 %")
    assert right["odd, 4"][0].startswith("100.0 [") or right["odd, 4"][0] != right["even, 4"][0]
    assert str(tmp_path) not in text


@pytest.mark.slow
def test_two_processes_make_the_same_report(tiny_folder, samples, tmp_path):
    made = {}
    for count, launch in (("1", ()), ("2", LAUNCH)):
        out, cache = tmp_path / count / "out", tmp_path / count / "cache"
        words = ["--model", str(tiny_folder), "--samples", str(samples), "--out", str(out), "--cache", str(cache)]
        words += ["--quick", "--max-new-tokens", "2", "--test", "4", "--few", "2"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", *launch, "app.evidence", *words]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=500, capture_output=True)
        made[count] = {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    assert made["1"] == made["2"] and len(made["1"]) > 20


def test_a_model_that_does_not_know_the_world_needs_samples(capsys, tmp_path):
    assert main(["--model", "llava-hf/llava-1.5-7b-hf", "--out", str(tmp_path)]) == 2
    assert "llava-hf/llava-1.5-7b-hf does not know the drawn world; --samples" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--test", "0"], ["--few", "x"], ["--max-new-tokens", "0"], []])
def test_bad_options_end_with_one_line(words, capsys, tmp_path):
    out = ["--out", str(tmp_path)] if words else []
    try:
        status = main([*out, *words])
    except SystemExit as exit_:  # argparse's own
        status = exit_.code
    assert status == 2 and capsys.readouterr().err.count("\n") == 1


def test_predictors_are_columns_of_the_raw_rows():
    assert {column for column, _, _ in flips.PREDICTORS.values()} <= set(flips.COLUMNS)


@pytest.mark.slow
def test_a_model_that_cannot_save_the_budget_of_the_sentences_is_refused(make_bench):
    bench = make_bench(model=tiny_llava(num_layers=1))
    with pytest.raises(ValueError, match="reduction is 0.8, but a model of 1 layers saves"):
        report.make(bench)
