"""The figures: curves, points and bars with their intervals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.evidence.numbers import Estimate
from fitprune_core.evaluation.significance import Share

# (place on the axis, value); all in percent where shares are drawn.
Point = tuple[float, Estimate | Share]

# Names that every figure has; those that stay are drawn in colours that nothing else has.
_KNOWN = {
    "original": "#222222",
    "fitprune": "#1f7a8c",
    "fitprune+": "#c2571a",
    "random": "#9aa5b1",
    "cross-only": "#6b4fa0",
    "divprune": "#4d8f3a",
}
_OTHERS = ("#c78d1e", "#b0417a", "#3f6fb5", "#7d6a58", "#2fa093", "#a33b32")
_MARKERS = "osv^D<>pPX*hd"


def color_of(name: str) -> str:
    """The colour of a bar by its name up to a comma or its options; one for all names that are not in every figure."""
    return _KNOWN.get(re.split(r"[,(]", name, maxsplit=1)[0], "#7fb2bd")


def panels(
    titles: Sequence[str], width: float = 6.4, columns: int | None = None, height: float = 4.4
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, side by side, or as many in a row as `columns` says; sizes in inches."""
    across = min(columns or len(titles), len(titles))
    rows = -(-len(titles) // across)
    figure = Figure(figsize=(width * across, height * rows), layout="constrained")
    every = list(figure.subplots(rows, across, squeeze=False).flat)
    found, spare = every[: len(titles)], every[len(titles) :]
    for axes in spare:
        axes.remove()
    for axes, title in zip(found, titles, strict=True):
        axes.set_title(title)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found


def curves(axes: Axes, lines: Mapping[str, Sequence[Point]], factor: float = 100.0) -> None:
    """A line with intervals for each name; names that every figure has keep their colour."""
    colors = cycle(_OTHERS)
    for number, (name, points) in enumerate(lines.items()):
        if not points:
            continue
        points = sorted(points, key=lambda point: point[0])
        at = [place for place, _ in points]
        values = [factor * estimate.value for _, estimate in points]
        # A rounding may put an end of an interval on the wrong side of its value.
        reach = [
            [max(0.0, factor * (estimate.value - estimate.low)) for _, estimate in points],
            [max(0.0, factor * (estimate.high - estimate.value)) for _, estimate in points],
        ]
        color = _KNOWN.get(name) or next(colors)
        width = 2.2 if name in _KNOWN else 1.2
        marker = _MARKERS[number % len(_MARKERS)]
        axes.errorbar(at, values, reach, label=name, color=color, linewidth=width, marker=marker, ms=4, capsize=2)
    axes.legend(frameon=False, fontsize="x-small", ncols=2)


def bars(axes: Axes, values: Mapping[str, Estimate | Share], factor: float = 100.0) -> None:
    """Horizontal bars with intervals, the first on top."""
    places = range(len(values), 0, -1)
    for place, (name, estimate) in zip(places, values.items(), strict=True):
        reach = [
            [max(0.0, factor * (estimate.value - estimate.low))],
            [max(0.0, factor * (estimate.high - estimate.value))],
        ]
        at = factor * estimate.value
        axes.barh(place, at, xerr=reach, color=color_of(name), height=0.7, capsize=2, ecolor="#444444")
    axes.set_yticks(list(places), list(values))


def save(figures: Mapping[str, Figure], out: Path) -> list[Path]:
    """Write each figure as SVG and PNG, the same bytes for the same numbers; returns the files."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context({"svg.hashsalt": "evidence"}):
        for name, figure in figures.items():
            written += [out / f"{name}.svg", out / f"{name}.png"]
            figure.savefig(written[-2], metadata={"Date": None})
            figure.savefig(written[-1], dpi=150, metadata={"Software": None})
    return written
