"""Ways to answer beside each other: tests against one of them, the rows of a table, and bars."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.evidence.board import THE_ORIGINAL, Board, Way, corrected
from app.evidence.figures import bars, panels
from app.evidence.plan import KEY_BUDGET
from app.evidence.words import budget, share_cell, test_cell

PLUS, RIVALS = "fitprune+", ("fitprune", "cross-only", "divprune", "random")
Tests = dict[tuple[str, Way], float | None]  # by the name of a board, and a way of it


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


def tests_across(
    boards: Mapping[str, Board], base_of: Callable[[str], str], without: Collection[tuple[str, Way]] = ()
) -> Tests:
    """As `tests_against` on several boards, by name, each against a base of its own; all corrected together.

    without: ways, by the name of their board, that are not tested.
    """
    return corrected(
        {
            (name, way): board.against(way, (base_of(name), way[1]))
            for name, board in boards.items()
            for way in board.ways[1:]
            if way[0] != base_of(name) and (name, way) not in without
        }
    )


def rows_across(boards: Mapping[str, Board], base_of: Callable[[str], str], p_values: Tests) -> list[list[str]]:
    """`way_rows` of several boards below each other, each row behind the name of its board."""
    rows: list[list[str]] = []
    for name, board in boards.items():
        p_of = {way: p for (which, way), p in p_values.items() if which == name}.get
        rows += way_rows(board, base_of(name), p_of, f"{name}: ")
    return rows


def bars_across(boards: Mapping[str, Board]) -> Figure:
    """A panel of bars for each board, two in a row, at the budget that a sentence speaks of."""
    figure, found = panels([f"{name}, {budget(KEY_BUDGET)} saved" for name in boards], columns=2)
    for axes, board in zip(found, boards.values(), strict=True):
        bars_of_right(axes, board, at_key_budget(board), "% right")
    return figure
