"""The command line: `python -m fitprune_core compare | calibrate | fit | evaluate`.

Results go to standard output. Bad input ends with exit status 2 and one line on standard error.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from fitprune_core.distributed import FailedElsewhere, started_processes
from fitprune_core.published import RECIPES
from fitprune_core.recipe import ATTENTIONS, PruningRecipe, check_share

PROGRAM = "python -m fitprune_core"
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


class _OneLineParser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        _complain(message)
        raise SystemExit(BAD_INPUT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 (the machine gave up), 2 (bad input), 130 (interrupted)."""
    options = _parser().parse_args(arguments)
    _quiet_libraries()
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        return _failed(options, error, BAD_INPUT)
    except MemoryError as error:
        return _failed(options, error, FAILED)
    except FailedElsewhere:
        return FAILED
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    return 0


def run_compare(options: argparse.Namespace) -> None:
    """Answer one question with the original and the pruned model."""
    from fitprune_core.pictures import check_question, open_picture

    # Everything that costs nothing is looked at before torch and a model are loaded.
    question, image = check_question(options.question), open_picture(options.image)
    recipe = PruningRecipe.load(options.recipe) if options.recipe else None
    from fitprune_core.comparison import compare

    model, processor = _load(options, options.device)
    recipe = recipe or _recipes_of(model, options)(options.reduction)
    comparison = compare(
        model, processor, image, question, recipe, method=options.method, max_new_tokens=options.max_new_tokens
    )
    if options.json:
        print(json.dumps(comparison.to_json(), ensure_ascii=False))
    else:
        from fitprune_core.tables import comparison_table

        print(comparison_table(comparison))


@contextmanager
def _over_samples(options: argparse.Namespace) -> Iterator[tuple]:
    """Check the files, load the model; yields it, its processor, what to call with samples done, and the processes."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from fitprune_core.samples import check_pictures, check_samples

    with started_processes() as processes:

        def prepare() -> tuple[int, tuple]:
            _check_output(options.out)
            total = check_samples(options.samples)
            check_pictures(options.samples)
            return total, _load(options, processes.device(options.device))

        total, loaded = processes.agree(prepare)
        is_off = None if processes.is_main else True  # None: only where there is somebody to watch
        about = f"process 1 of {processes.count}" if processes.count > 1 else None
        bar = tqdm(desc=about, total=len(processes.share(total)), unit="sample", disable=is_off)

        def progress(done: int, _: int) -> None:
            if not bar.n:
                # What was done before this run took no time of it.
                bar.initial = bar.n = done - 1
            bar.update(done - bar.n)

        with logging_redirect_tqdm(), bar:
            yield *loaded, progress, processes


def run_evaluate(options: argparse.Namespace) -> None:
    """Answer a samples file with the original model and with methods at several budgets."""
    from fitprune_core.evaluation import evaluate
    from fitprune_core.tables import scores_table

    with _over_samples(options) as (model, processor, progress, processes):
        scores = evaluate(
            model,
            processor,
            options.samples,
            options.reduction,
            processes.agree(lambda: _recipes_of(model, options)),
            options.out,
            methods=options.method,
            max_new_tokens=options.max_new_tokens,
            progress=progress,
            processes=processes,
        )
    if processes.is_main:
        print(scores_table(scores))


def run_calibrate(options: argparse.Namespace) -> None:
    """Collect the statistics of a model over a samples file."""
    from fitprune_core.calibration import calibrate

    with _over_samples(options) as (model, processor, progress, processes):
        done = calibrate(model, processor, options.samples, options.out, progress=progress, processes=processes)
    if processes.is_main:
        left_out = f" ({done.left_out} left out)" if done.left_out else ""
        is_equal = done.fewest_tokens == done.most_tokens
        tokens = f"{done.most_tokens}" if is_equal else f"{done.fewest_tokens} to {done.most_tokens}"
        print(f"{options.out}: {done.num_samples} samples{left_out}, {tokens} visual tokens each")


def run_fit(options: argparse.Namespace) -> None:
    """Fit a recipe from statistics."""
    from fitprune_core.fitting import fit_recipe
    from fitprune_core.statistics import AttentionStatistics

    _check_output(options.out)
    statistics = AttentionStatistics.load(options.statistics)
    recipe = fit_recipe(
        statistics,
        options.reduction,
        attention=options.attention,
        max_drop_layers=options.max_drop_layers,
        first_drop_layer=options.first_drop_layer,
    )
    recipe.save(options.out)
    print(
        f"{options.out}: saves {recipe.achieved_reduction:.2%} of visual FLOPs ({recipe.reduction:.2%} asked), "
        f"removes {' '.join(map(str, recipe.removed))} of {recipe.num_visual_tokens} visual tokens"
    )


def _load(options: argparse.Namespace, device: str) -> tuple[Any, Any]:
    from fitprune_core.loading import load_model

    return load_model(
        options.model,
        device=device,
        dtype=options.dtype,
        image_aspect=options.image_aspect,
        attn_implementation=options.attn,
        quantization=options.quantize,
    )


def _recipes_of(model: Any, options: argparse.Namespace) -> Callable[[float], PruningRecipe]:
    from fitprune_core.flops import DecoderGeometry
    from fitprune_core.loading import model_name
    from fitprune_core.recipe_store import recipe_source

    return recipe_source(model_name(model), DecoderGeometry.from_config(model.config), options.recipes)


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(prog=PROGRAM, description="Prune the visual tokens of LLaVA to a FLOPs budget.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def command(run: Callable[[argparse.Namespace], None], name: str) -> argparse.ArgumentParser:
        adding = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        adding.add_argument("--debug", action="store_true", help="show the traceback of an error")
        adding.set_defaults(run=run)
        return adding

    _add_compare(command(run_compare, "compare"))
    _add_calibrate(command(run_calibrate, "calibrate"))
    _add_fit(command(run_fit, "fit"))
    _add_evaluate(command(run_evaluate, "evaluate"))
    return parser


def _add_compare(adding: argparse.ArgumentParser) -> None:
    _add_model(adding)
    adding.add_argument("--image", required=True, type=Path, metavar="FILE", help="the picture")
    adding.add_argument("--question", required=True, metavar="Q", help="what to ask about it")
    budget = adding.add_mutually_exclusive_group(required=True)
    budget.add_argument("--reduction", type=_share, metavar="R", help="share of visual FLOPs to save, 0 <= R < 1")
    budget.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe file instead of a share")
    adding.add_argument("--method", default="fitprune", metavar="NAME", help="what ranks the tokens [%(default)s]")
    _add_running(adding)
    adding.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


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
    adding.add_argument(
        "--first-drop-layer", type=int, default=0, metavar="L", help="first layer, from 0, that may drop [%(default)s]"
    )
    adding.add_argument("--out", required=True, type=Path, metavar="RECIPE.json", help="file to write")


def _add_evaluate(adding: argparse.ArgumentParser) -> None:
    _add_model(adding)
    _add_samples(adding)
    adding.add_argument(
        "--reduction", required=True, nargs="+", type=_share, metavar="R", help="shares of visual FLOPs to save"
    )
    adding.add_argument("--method", nargs="+", default=["fitprune"], metavar="NAME", help="what ranks [fitprune]")
    _add_running(adding)
    adding.add_argument(
        "--out", required=True, type=Path, metavar="RESULTS.csv", help="file to write, or to go on with"
    )


def _add_model(adding: argparse.ArgumentParser) -> None:
    about = "model folder, Hub id, mini-llava, or auto: LLaVA-1.5-7B where there is CUDA, else mini-llava [%(default)s]"
    adding.add_argument("--model", default="auto", metavar="M", help=about)
    adding.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda [%(default)s]")
    adding.add_argument("--dtype", default="auto", metavar="T", help="auto, float32, float16 or bfloat16 [%(default)s]")
    about = "what becomes of a picture that is no square: crop, pad, or auto, the checkpoint's own way [%(default)s]"
    adding.add_argument("--image-aspect", default="auto", metavar="A", help=about)
    about = "attention of the decoder: sdpa, eager, flash_attention_2, or auto, which is sdpa [%(default)s]"
    adding.add_argument("--attn", default="auto", metavar="B", help=about)
    about = "weights of the decoder in fewer bits, on CUDA: 4bit, 8bit or none [%(default)s]"
    adding.add_argument("--quantize", default="none", metavar="Q", help=about)


def _add_samples(adding: argparse.ArgumentParser) -> None:
    adding.add_argument("--samples", required=True, type=Path, metavar="FILE.jsonl", help="pictures and questions")


def _add_running(adding: argparse.ArgumentParser) -> None:
    adding.add_argument("--recipes", type=Path, default=RECIPES, metavar="FOLDER", help="a folder for each model")
    adding.add_argument(
        "--max-new-tokens", type=_positive, default=64, metavar="N", help="longest answer [%(default)s]"
    )


def _share(text: str) -> float:
    try:
        return check_share("reduction", float(text))
    except ValueError as error:
        known = str(error) if str(error).startswith("reduction") else f"{text!r} is not a number"
        raise argparse.ArgumentTypeError(known) from error


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def _check_output(path: Path) -> None:
    """Raise ValueError, before any work is done, if a file cannot be written here."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file to write")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{path} cannot be written: {folder} is no folder that may be written to")


def _quiet_libraries() -> None:
    """Keep what libraries say off standard error, where only our own lines are expected.

    transformers and its Hub client read these variables when they are imported, which costs seconds and is left until
    the input has been looked at.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    warnings.filterwarnings("ignore", module="PIL")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _failed(options: argparse.Namespace, error: Exception, status: int) -> int:
    if options.debug:
        logging.getLogger(__name__).error("", exc_info=error)
    _complain(str(error) or type(error).__name__)
    return status


def _complain(message: str) -> None:
    print(f"{PROGRAM}: {' '.join(message.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
