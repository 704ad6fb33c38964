"""What the command line takes: the options of each command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from fitprune_core.checks.files import EXPORTS
from fitprune_core.checks.program import OneLineParser
from fitprune_core.checks.words import shown
from fitprune_core.models.options import LoadOptions
from fitprune_core.recipes.published import RECIPES
from fitprune_core.recipes.recipe import ATTENTIONS, check_share

PROGRAM = "python -m fitprune_core"
# That of run.results, which brings torch, seconds of work: --help has this default to show, and shows it at once.
ORIGINAL = "original"


class _Parser(OneLineParser):
    program = PROGRAM


def command_parser(runs: Mapping[str, Callable[[argparse.Namespace], None]]) -> argparse.ArgumentParser:
    """The parser of all commands; `runs`: what each does, by its name, with a line about it as its docstring."""
    parser = _Parser(prog=PROGRAM, description="Prune the visual tokens of LLaVA to a FLOPs budget.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name, run in runs.items():
        adding = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        adding.add_argument("--debug", action="store_true", help="show the traceback of an error")
        adding.set_defaults(run=run)
        _OPTIONS[name](adding)
    return parser


def _add_compare(adding: argparse.ArgumentParser) -> None:
    _add_model(adding)
    adding.add_argument("--image", required=True, type=Path, metavar="FILE", help="the picture")
    adding.add_argument("--question", required=True, metavar="Q", help="what to ask about it")
    budget = adding.add_mutually_exclusive_group(required=True)
    budget.add_argument("--reduction", type=_share, metavar="R", help="share of visual FLOPs to save, 0 <= R < 1")
    budget.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe file instead of a share")
    about = "what chooses the tokens, with options as in random:seed=1 [%(default)s]"
    adding.add_argument("--method", default="fitprune", metavar="NAME", help=about)
    about = "another first way than the original, named as in --method; original is the model as it is [%(default)s]"
    adding.add_argument("--against", default=ORIGINAL, metavar="NAME", help=about)
    about = "share of visual FLOPs that --against saves [what the second way saves]"
    adding.add_argument("--against-reduction", type=_share, metavar="R", help=about)
    about = "visual tokens, numbered from 0 in reading order, that --method keeps at every layer, at the same cost"
    adding.add_argument("--stay", type=_token, nargs="+", default=(), metavar="N", help=about)
    adding.add_argument("--go", type=_token, nargs="+", default=(), metavar="N", help="those that it drops first")
    _add_running(adding)
    adding.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    about = "also write it: a .html page that works offline, a .json file, a .png of one layer, a .gif or .webp of all"
    adding.add_argument("--export", type=_exported, metavar="FILE", help=about)
    about = "the layer, from 1, that an exported .png shows [the last]"
    adding.add_argument("--layer", type=_positive, metavar="N", help=about)


def _exported(text: str) -> Path:
    path = Path(text)
    if path.suffix.casefold() not in EXPORTS:
        raise argparse.ArgumentTypeError(f"{text!r} ends in none of {', '.join(EXPORTS)}")
    return path


def _add_calibrate(adding: argparse.ArgumentParser) -> None:
    _add_model(adding)
    _add_samples(adding)
    adding.add_argument("--out", required=True, type=Path, metavar="STATS.npz", help="file to write")


def _add_fit(adding: argparse.ArgumentParser) -> None:
    adding.add_argument("--statistics", required=True, type=Path, metavar="STATS.npz", help="from `calibrate`")
    adding.add_argument(
        "--reduction", required=True, type=_share, metavar="R", help="share of visual FLOPs to save, 0 <= R < 1"
    )
    adding.add_argument("--attention", choices=ATTENTIONS, default="both", help="which attention decides [%(default)s]")
    adding.add_argument("--max-drop-layers", type=_positive, metavar="N", help="most layers that may drop [any number]")
    about = "first layer that may drop, here alone counted from 0: 2 is layer 3, counted from 1 [the model's first]"
    adding.add_argument("--first-drop-layer", type=int, metavar="L", help=about)
    about = "the paper's rule alone: every layer drops what the bound allows, however little"
    adding.add_argument("--no-gather", dest="gather", action="store_false", help=about)
    adding.add_argument("--out", required=True, type=Path, metavar="RECIPE.json", help="file to write")


def _add_evaluate(adding: argparse.ArgumentParser) -> None:
    _add_model(adding)
    _add_samples(adding)
    budget = adding.add_mutually_exclusive_group(required=True)
    budget.add_argument("--reduction", nargs="+", type=_share, metavar="R", help="shares of visual FLOPs to save")
    budget.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe file instead of shares")
    about = "what chooses the tokens, one or several, with options as in random:seed=1 [fitprune]"
    adding.add_argument("--method", nargs="+", default=["fitprune"], metavar="NAME", help=about)
    _add_running(adding)
    adding.add_argument(
        "--out", required=True, type=Path, metavar="RESULTS.csv", help="file to write, or to go on with"
    )


def _add_model(adding: argparse.ArgumentParser) -> None:
    about = "model folder, Hub id, mini-llava, or auto: LLaVA-1.5-7B where there is CUDA, else mini-llava [%(default)s]"
    adding.add_argument("--model", default="auto", metavar="M", help=about)
    LoadOptions.add_to(adding)


def _add_samples(adding: argparse.ArgumentParser) -> None:
    about = "pictures and questions: JSON Lines, CSV, or LLaVA's JSON array of conversations"
    adding.add_argument("--samples", required=True, type=Path, metavar="FILE", help=about)
    about = "folder that the pictures are relative to [that of the samples file]"
    adding.add_argument("--images", type=Path, metavar="FOLDER", help=about)
    about = "samples at once: a number, or auto, as many as memory holds; answers do not depend on it [%(default)s]"
    adding.add_argument("--batch-size", type=_batch_size, default=1, metavar="N", help=about)


def _add_running(adding: argparse.ArgumentParser) -> None:
    adding.add_argument("--recipes", type=Path, default=RECIPES, metavar="FOLDER", help="a folder for each model")
    adding.add_argument(
        "--max-new-tokens", type=_positive, default=64, metavar="N", help="longest answer [%(default)s]"
    )


def _share(text: str) -> float:
    try:
        return check_share("reduction", float(text))
    except ValueError as error:
        known = str(error) if str(error).startswith("reduction") else f"{shown(text)} is not a number"
        raise argparse.ArgumentTypeError(known) from error


def _batch_size(text: str) -> int | str:
    return text if text == "auto" else _positive(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a whole number from 1 up")
    return int(text)


def _token(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{shown(text)} is not the number of a visual token, from 0 up")
    return int(text)


_OPTIONS = {"compare": _add_compare, "calibrate": _add_calibrate, "fit": _add_fit, "evaluate": _add_evaluate}
