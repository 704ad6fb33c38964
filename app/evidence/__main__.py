"""`python -m app.evidence --out FOLDER`: answer this project's questions about pruning, and write a report."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from fitprune_core import LoadOptions
from fitprune_core.checks.program import OneLineParser, exit_status

PROGRAM = "python -m app.evidence"
CACHE = Path("runs/evidence")
RELATIVES = Path(__file__).parents[2] / "assets" / "evidence" / "models"


class _Parser(OneLineParser):
    program = PROGRAM


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; what cannot be ends the program with exit status 2 and one line."""
    parser = _Parser(prog=PROGRAM, description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the report, its figures and raw rows go")
    add("--model", default="mini-llava", metavar="M", help="model folder or Hub id [%(default)s]")
    also = "other models to ask: folders or Hub ids [for mini-llava its relatives]"
    add("--also", nargs="*", metavar="M", help=also)
    about = "questions with right answers, for another model than mini-llava: JSON Lines, CSV, or LLaVA's JSON array"
    add("--samples", type=Path, metavar="FILE", help=about)
    add(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="folder that the pictures are relative to [that of the samples file]",
    )
    add("--quick", action="store_true", help="so few questions that it only checks the pipeline")
    add("--test", type=int, metavar="N", help="questions that methods are compared on [the plan's]")
    add("--few", type=int, metavar="N", help="questions of further comparisons [the plan's]")
    add("--easy-vqa", type=int, metavar="N", help="questions of easy-VQA [the plan's]")
    add("--max-new-tokens", type=int, metavar="N", help="longest answer [the plan's]")
    add("--batch-size", default="8", metavar="N", help="samples at once, or auto [%(default)s]")
    add("--cache", type=Path, default=CACHE, metavar="FOLDER", help="what is remembered of earlier runs [%(default)s]")
    LoadOptions.add_to(parser)
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> None:
    """Load the model, ask everything, write the report."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from app.evidence.bench import Bench
    from app.evidence.plan import FULL, QUICK
    from app.evidence.report import make
    from fitprune_core.models.loading import MINI_LLAVA, load_model
    from fitprune_core.recipes.recipe import same_checkpoint
    from fitprune_core.samples.files import SamplesFile
    from fitprune_core.samples.processes import started_processes

    if options.samples is None and not same_checkpoint(options.model, MINI_LLAVA):
        raise ValueError(f"{options.model} does not know the drawn world; --samples names a file of questions for it")
    plan = replace(QUICK if options.quick else FULL, **_counts(options))
    also = options.also
    if also is None:
        also = [str(path.parent) for path in sorted(RELATIVES.glob("*/config.json"))] if options.samples is None else []
    given = None if options.samples is None else SamplesFile(options.samples, options.images)
    with started_processes() as processes:
        loading = asdict(LoadOptions.of(options)) | {"device": processes.device(options.device)}
        load = partial(load_model, **loading)
        model, processor = processes.agree(partial(load, options.model))
        bar = tqdm(unit="sample", disable=None if processes.is_main else True)
        doing = ""

        def progress(what: str, done: int, total: int) -> None:
            nonlocal doing
            if what != doing:
                doing = what
                bar.reset(total)
                bar.set_description(what)
            bar.update(done - bar.n)

        with logging_redirect_tqdm(), bar:
            bench = Bench(
                model,
                processor,
                plan,
                options.out,
                options.cache,
                given=given,
                processes=processes,
                batch_size=options.batch_size,
                progress=progress,
                also=also,
                load=load,
            )
            path = make(bench)
        if processes.is_main:
            print(path)


def _counts(options: argparse.Namespace) -> dict[str, Any]:
    """The plan's counts that were given, by their names in it."""
    names = ("test", "few", "easy_vqa", "max_new_tokens")
    counts = {name: value for name in names if (value := getattr(options, name)) is not None}
    if bad := [name for name, value in counts.items() if value < 1]:
        raise ValueError(f"--{bad[0].replace('_', '-')} is {counts[bad[0]]}; it must be a whole number from 1 up")
    return counts


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit status: bad input is 2, after one line that says what is wrong."""
    options = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_status(partial(run, options), PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
