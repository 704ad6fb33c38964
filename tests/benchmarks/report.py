"""What a benchmark hands back, and how it is written: Markdown tables, and one plot of all of them."""

from __future__ import annotations

import csv
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import matplotlib
import numpy as np
import torch
import transformers
from matplotlib.figure import Figure

COLORS = {"FLOPs saved": "#9aa5b1", "time saved": "#1f7a8c"}


@dataclass
class Report:
    """The outcome of one benchmark.

    Attributes:
        title: its heading.
        tables: each a list of rows of text, the first of them the header.
        notes: what was measured and how, a sentence or two each.
        savings: for the plot, what was run to (share of prefill FLOPs saved, share of prefill time saved).
        raw: name of a CSV file to its rows, for those who reckon on.
        budget_errors: for the plot, percent asked to the error of the recipe in percentage points.
    """

    title: str
    tables: list[list[Sequence[str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    savings: dict[str, tuple[float, float]] = field(default_factory=dict)
    budget_errors: dict[int, float] = field(default_factory=dict)
    raw: dict[str, list[dict[str, object]]] = field(default_factory=dict)

    def markdown(self) -> str:
        """Heading, tables and notes."""
        parts = [f"## {self.title}", *(_markdown_table(table) for table in self.tables), *self.notes]
        return "\n\n".join(parts) + "\n"


def machine() -> str:
    """Where and when the figures come from, with the load of the last minute: a busy machine measures itself."""
    load = os.getloadavg()[0]
    busy = f", busy: load {load:.1f} when the run began" if load > 0.5 * (os.cpu_count() or 1) else ""
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_processor()}, {os.cpu_count()} cores, torch {torch.__version__} "
        f"on {torch.get_num_threads()} threads, transformers {transformers.__version__}, numpy {np.__version__}{busy}."
    )


def write(reports: Sequence[Report], folder: Path, about: str) -> list[Path]:
    """Write `benchmarks.md`, raw rows, and `benchmarks.png` where there is something to draw; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for report in reports:
        for name, rows in report.raw.items():
            with (folder / name).open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    table = folder / "benchmarks.md"
    table.write_text("\n".join(["# Benchmarks", "", about, "", *(r.markdown() for r in reports)]), encoding="utf-8")
    savings = {label: shares for report in reports for label, shares in report.savings.items()}
    errors = {percent: error for report in reports for percent, error in report.budget_errors.items()}
    panels = [(draw, data) for draw, data in ((_draw_savings, savings), (_draw_errors, errors)) if data]
    if not panels:
        return [table]
    figure = Figure(figsize=(6.4 * len(panels), 4), layout="constrained")
    for axes, (draw, data) in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        draw(axes, data)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "benchmarks.png", dpi=150)
    return [table, folder / "benchmarks.png"]


def _draw_savings(axes: matplotlib.axes.Axes, savings: dict[str, tuple[float, float]]) -> None:
    """Bars in pairs: what pruning saves of the FLOPs of a prefill, and of its time."""
    at = np.arange(len(savings))
    for number, (label, color) in enumerate(COLORS.items()):
        shares = [100 * pair[number] for pair in savings.values()]
        axes.bar_label(axes.bar(at + 0.4 * number - 0.2, shares, 0.38, label=label, color=color), fmt="%.0f")
    axes.set_xticks(at, savings)
    axes.set_ylabel("% of the prefill")
    axes.set_title("What pruning saves")
    axes.margins(y=0.3)
    axes.legend(frameon=False, ncols=2, loc="upper center")


def _draw_errors(axes: matplotlib.axes.Axes, errors: dict[int, float]) -> None:
    axes.bar(list(errors), list(errors.values()), width=1, color=COLORS["time saved"])
    axes.set_xlabel("FLOPs budget asked, %")
    axes.set_ylabel("achieved less asked, percentage points")
    axes.set_title("How exactly mini-llava's recipes meet a budget")


def _markdown_table(rows: list[Sequence[str]]) -> str:
    head, *body = rows
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *body])


def _processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
