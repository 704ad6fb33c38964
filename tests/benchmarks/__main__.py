"""Run the benchmarks: `python -m tests.benchmarks [--only NAME ...] [--rounds N] [--out FOLDER]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.benchmarks import (
    batches,
    collection,
    fitting,
    mini_llava,
    several_ways,
    two_fits,
    whole_request,
    wide_decoder,
)
from tests.benchmarks.report import machine, write

BENCHMARKS = {
    "mini-llava": mini_llava.run,
    "wide-decoder": wide_decoder.run,
    "wide-decoder-next": wide_decoder.run_next,
    "whole-request": whole_request.run,
    "fitting": fitting.run,
    "two-fits": two_fits.run,
    "collection": collection.run,
    "batches": batches.run,
    "several-ways": several_ways.run,
}
RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Run what was asked for, print each table as it is done, and write all of them and a plot."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure what pruning saves.")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="run these alone")
    parser.add_argument("--rounds", type=int, help="paired runs that count, instead of each benchmark's own number")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder to write the tables and the plot into")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}; at least 1 is needed")
    about = machine()
    print(about, end="\n\n", flush=True)
    reports = []
    for name in options.only:
        reports.append(BENCHMARKS[name]() if options.rounds is None else BENCHMARKS[name](rounds=options.rounds))
        print(reports[-1].markdown(), flush=True)
    for path in write(reports, options.out, about):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
