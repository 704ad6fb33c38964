"""Ways to answer beside each other: tests against one of them, the rows of a table, and bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.axes import Axes

from app.evidence.board import THE_ORIGINAL, Board, Way, corrected
from app.evidence.figures import bars
from app.evidence.plan import KEY_BUDGET
from app.evidence.words import budget, share_cell, test_cell


def tests_against(board: Board, base: str) -> dict[Way, float | None]:
    """The p-value of each way against the variant `base` at the same budget, all corrected together."""
    return corrected({way: board.against(way, (base, way[1])) for way in board.ways[1:] if way[0] != base})


def name_of(way: Way) -> str:
    """ "original", or "random, 80 %"."""
    return way[0] if way == THE_ORIGINAL else f"{way[0]}, {budget(way[1])}"


def way_rows(board: Board, base: str, p_of: Callable[[Way], float | None], before: str = "") -> list[list[str]]:
    """A row a way: its name after `before`, the shares right and as the original, and the test against `base`."""
    return [
        [
            f"{before}{name_of(way)}",
            share_cell(board.right(way)),
            share_cell(board.same(way)),
            test_cell(board.against(way, (base, way[1])), p_of(way)),
        ]
        for way in board.ways
    ]


def bars_of_right(axes: Axes, board: Board, names: Mapping[Way, str], unit: str = "% of the questions") -> None:
    """The shares of right answers as bars, under these names; what did not answer has none."""
    bars(axes, {name: share for way, name in names.items() if (share := board.right(way)) is not None})
    axes.set_xlabel(unit)


def at_key_budget(board: Board) -> dict[Way, str]:
    """The original, and every way at the budget that a section's sentence speaks of, by name."""
    return {way: way[0] for way in board.ways if way[1] in (0.0, KEY_BUDGET)}
