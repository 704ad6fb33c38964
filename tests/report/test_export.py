"""An exported comparison: the numbers of the comparison, and a page that holds texts as data."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from fitprune_core import DecoderGeometry, collect_statistics, fit_recipe, layer_visual_flops, load_model
from fitprune_core.checks.files import check_export
from fitprune_core.cli.main import main
from fitprune_core.report.export import export_comparison, page_of, to_entries
from fitprune_core.report.reading import read_export
from fitprune_core.report.trace import trace_of
from fitprune_core.run.comparison import compare
from tests.tiny import random_picture

QUESTION = "What is it? </script><script>alert(1)</script> <!-- ${x} `y`"


@pytest.fixture(scope="module")
def made(tiny):
    """A comparison, its picture and the decoder's geometry."""
    model, processor = tiny
    statistics = collect_statistics(model, processor, [(random_picture(), "What?")])
    image = random_picture(seed=4)
    comparison = compare(model, processor, image, QUESTION, fit_recipe(statistics, 0.6), max_new_tokens=3, repeats=0)
    return comparison, image, DecoderGeometry.from_config(model.config)


def data_of(page: str):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_a_json_file_holds_what_compare_prints(made, tmp_path):
    comparison = made[0]
    export_comparison(*made, tmp_path / "c.json")
    entries = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert entries["comparison"] == comparison.to_json() and entries["format"] == "fitprune-comparison"


def test_the_trace_is_the_comparisons(made):
    comparison, image, geometry = made
    trace = trace_of(*made)
    assert trace["tokens"] == [len(kept) for kept in comparison.kept]
    for layer, kept in enumerate(comparison.kept):
        assert [n for n, last in enumerate(trace["dropped_after"]) if last > layer] == list(kept)
    spent = [count / 1e9 for count in layer_visual_flops(geometry, comparison.removed, comparison.layout.num_tokens)]
    assert trace["pruned_gflops"] == pytest.approx(spent, rel=1e-5)
    assert (trace["width"], trace["height"]) == image.size


def test_a_page_holds_the_same_and_no_text_becomes_markup(made, tmp_path):
    export_comparison(*made, tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert data_of(page) == json.loads(json.dumps(to_entries(*made)))
    assert "alert(1)</script>" not in page and page.count("</script>") == 2
    assert not re.findall(r"%[\w.]+%", page.split('id="data"')[0])


def test_a_page_asks_nobody_for_anything(made):
    page = page_of(to_entries(*made))
    assert not re.findall(r"<(?:link|img|iframe|script)[^>]*(?:src|href)", page)
    assert not re.findall(r"https?://(?!www\.w3\.org/)", page)


@pytest.mark.parametrize("name", ["c.txt", "c", ".html", "c.html.gz"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"\.json, \.html, \.png"):
        check_export(tmp_path / name)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        check_export(tmp_path / "file" / "c.json")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c.html", "c.json"])
def test_the_command_line_exports(tiny_folder, made, tmp_path, capsys, name):
    made[0].recipe.save(tmp_path / "recipe.json")
    random_picture(seed=4).save(tmp_path / "p.png")
    command = ["compare", "--model", str(tiny_folder), "--image", str(tmp_path / "p.png"), "--question", "What?"]
    command += ["--recipe", str(tmp_path / "recipe.json"), "--max-new-tokens", "2", "--export", str(tmp_path / name)]
    assert main(command) == 0
    text = (tmp_path / name).read_text(encoding="utf-8")
    entries = data_of(text) if name.endswith("html") else json.loads(text)
    expected = load_model(tiny_folder)[0].config.text_config.num_hidden_layers
    assert entries["comparison"]["question"] == "What?" and len(entries["trace"]["tokens"]) == expected
    capsys.readouterr()


def test_the_command_line_refuses_before_a_model_is_loaded(tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    command = ["compare", "--model", "no-such", "--image", str(tmp_path / "p.png"), "--question", "What?"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--reduction", "0.5", "--export", "x.txt"])
    assert ended.value.code == 2 and "none of .json, .html, .png" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["c.html", "c.json"])
def test_what_was_exported_is_read_back(made, tmp_path, name):
    export_comparison(*made, tmp_path / name)
    comparison, trace = read_export(tmp_path / name)
    assert comparison.to_json() == made[0].to_json() and trace == json.loads(json.dumps(trace_of(*made)))


def test_what_nobody_knows_of_a_trace_is_left_out(made, tmp_path):
    """A server keeps what is read for its visitor."""
    entries = to_entries(*made)
    entries["trace"] |= {"more": ["x"] * 1000, "against": {**entries["trace"], "more": "x" * 1000}}
    (tmp_path / "c.json").write_text(json.dumps(entries))
    _, trace = read_export(tmp_path / "c.json")
    side = ("name", "dropped_after", "rank", "tokens", "pruned_gflops")
    assert trace == trace_of(*made) | {"against": {name: trace[name] for name in side}}


@pytest.mark.slow
def test_measured_times_are_read_back(tiny, made, tmp_path):
    image, geometry = made[1:]
    measured = compare(*tiny, image, "What?", made[0].recipe, max_new_tokens=2, repeats=7)
    export_comparison(measured, image, geometry, tmp_path / "c.json")
    comparison, _ = read_export(tmp_path / "c.json")
    assert comparison == measured and comparison.paired["prefill"].interval is not None


def spoiled(entries, change):
    entries = json.loads(json.dumps(entries))
    change(entries)
    return json.dumps(entries)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e.update(version=99), "version is 99"),
        (lambda e: e.update(format="other"), "no exported comparison"),
        (lambda e: e["comparison"].pop("kept"), "damaged comparison"),
        (lambda e: e["comparison"].update(kept=7), "damaged comparison"),
        (lambda e: e["comparison"]["original"].update(flops=None), "damaged comparison"),
        (lambda e: e["comparison"].update(seen=[1, 2]), "not enough values"),
        (lambda e: e["comparison"]["recipe"].update(schema=9), "schema is 9"),
        (lambda e: e["trace"].update(image="https://example.org/x.jpg"), "no JPEG in base64"),
        (lambda e: e.pop("trace"), "damaged comparison"),
        (lambda e: e["trace"]["rank"].append(0), "its trace has 37 rank, not 36"),
        (lambda e: e["trace"].update(tokens=[0] * 10**5), "its trace has 100,000 tokens, not 4"),
        (lambda e: e["trace"].update(row_ends=[0] * 10**5), "its trace has 100,000 row_ends for 36 tokens"),
        (lambda e: e["trace"].update(against={**e["trace"], "tokens": []}), "its trace has 0 tokens, not 4"),
    ],
)
def test_what_is_damaged_is_told_in_a_sentence(made, tmp_path, change, words):
    (tmp_path / "c.json").write_text(spoiled(to_entries(*made), change))
    with pytest.raises(ValueError, match=words) as told:
        read_export(tmp_path / "c.json")
    assert "c.json" in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"\xff\xfe", b"<html></html>", b"{" * 100_000])
def test_other_files_are_told_in_a_sentence(tmp_path, content):
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(ValueError, match="c.json"):
        read_export(tmp_path / "c.json")
