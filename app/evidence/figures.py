"""The figures: curves, points and bars with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.evidence.numbers import Estimate
from fitprune_core.evaluation.significance import Share

# (place on the axis, value); all in percent where shares are drawn.
Point = tuple[float, Estimate | Share]

_KNOWN = {"original": "#222222", "fitprune": "#1f7a8c", "fitprune+": "#c2571a", "random": "#9aa5b1"}
_MARKERS = "osv^D<>pPX*hd"


def panels(titles: Sequence[str], width: float = 6.4) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, side by side."""
    figure = Figure(figsize=(width * len(titles), 4.4), layout="constrained")
    found = list(figure.subplots(1, len(titles), squeeze=False)[0])
    for axes, title in zip(found, titles, strict=True):
        axes.set_title(title)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found


def curves(axes: Axes, lines: Mapping[str, Sequence[Point]], factor: float = 100.0) -> None:
    """A line with intervals for each name; names that every figure has keep their colour."""
    colors = iter(matplotlib.colormaps["tab10"].colors * 3)  # type: ignore[attr-defined]
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
        color = _KNOWN.get(name, "#7fb2bd")
        axes.barh(place, factor * estimate.value, xerr=reach, color=color, height=0.7, capsize=2, ecolor="#444444")
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
