"""Which families are tested, and for what: a table in Markdown, made from the tests themselves.

    python -m tests.families_table         # the tests that there are
    python -m tests.families_table --run   # the same after running them; what fails is named

A row is a family of `tests/families/every.py`, a column a test of `tests/models/families/test_every_family.py`, and a
cell says how many of them there are. The guide's page of models holds the table.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "models" / "families" / "test_every_family.py"


class Cases:
    """A plugin of pytest that notes which tests there are of which family, and which of them failed."""

    def __init__(self) -> None:
        self.places: dict[str, tuple[str, str]] = {}
        self.kinds: dict[str, list[str]] = {}
        self.failed: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
            if case is None:
                continue
            column = item.originalname.removeprefix("test_").replace("_", " ").replace("flops", "FLOPs")
            self.places[item.nodeid] = case.family, column
            if case.kind not in self.kinds.setdefault(case.family, []):
                self.kinds[case.family].append(case.kind)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":  # a test that was skipped shows nothing either
            self.failed.add(report.nodeid)

    def table(self) -> str:
        """The table, with a line end at its end."""
        columns = list(dict.fromkeys(column for _, column in self.places.values()))
        tests, failed = Counter(self.places.values()), Counter(self.places[name] for name in self.failed)
        lines = [["family", "tiny random models", *columns], ["---"] * (2 + len(columns))]
        for family, kinds in self.kinds.items():
            cells = [_cell(tests[family, column], failed[family, column]) for column in columns]
            lines.append([family, "; ".join(kinds), *cells])
        return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cell(tests: int, failed: int) -> str:
    if failed:
        return f"✗ {failed} of {tests} fail"
    return f"✓ {tests}" if tests else "no test"


def families_table(*, run: bool) -> tuple[str, bool]:
    """The table, and whether nothing failed. run: the tests are not only collected."""
    cases = Cases()
    how = ["-q", "--no-header", "-p", "no:cacheprovider", str(TESTS), *([] if run else ["--collect-only", "-qq"])]
    status = pytest.main(how, plugins=[cases])
    return cases.table(), status == pytest.ExitCode.OK


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the table of families and tests.")
    parser.add_argument("--run", action="store_true", help="run the tests, instead of only collecting them")
    table, is_well = families_table(run=parser.parse_args().run)
    print(f"\n{table}", end="")
    return 0 if is_well else 1


if __name__ == "__main__":
    raise SystemExit(main())
