"""The command line: `python -m fitprune_core compare | calibrate | fit | evaluate`.

Results go to standard output. Bad input ends with exit status 2 and one line on standard error.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

from fitprune_core.checks.files import check_export, check_output
from fitprune_core.checks.program import exit_status
from fitprune_core.checks.words import plural
from fitprune_core.cli.options import ORIGINAL, PROGRAM, command_parser
from fitprune_core.models.options import LoadOptions
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.samples.processes import started_processes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 (the machine gave up), 2 (bad input), 130 (interrupted)."""
    options = command_parser(COMMANDS).parse_args(arguments)
    _quiet_libraries()
    # What goes through a samples file keeps a journal.
    goes_on = "; the same command goes on where it stopped" if "samples" in options else ""
    return exit_status(partial(options.run, options), PROGRAM, debug=options.debug, interrupted=f"interrupted{goes_on}")


def run_compare(options: argparse.Namespace) -> None:
    """Answer one question with the original and the pruned model."""
    from fitprune_core.run.pictures import open_picture
    from fitprune_core.run.questions import check_question

    # Everything that costs nothing is looked at before torch and a model are loaded.
    question, image = check_question(options.question), open_picture(options.image)
    recipe = PruningRecipe.load(options.recipe) if options.recipe else None
    if options.export is not None:
        check_export(options.export, inputs=(options.image, options.recipe))
    if options.against_reduction is not None and options.against == ORIGINAL:
        raise ValueError(f"--against-reduction {options.against_reduction:g} goes with --against, which is {ORIGINAL}")
    if options.layer is not None and (options.export is None or options.export.suffix.casefold() != ".png"):
        raise ValueError(f"--layer {options.layer} is for --export FILE.png alone")
    _import_models()
    from fitprune_core.cost.decoder import DecoderGeometry
    from fitprune_core.pruning.methods import find_method
    from fitprune_core.run.answer import Way
    from fitprune_core.run.comparison import Answered, Comparison, stream_comparison

    for name in {options.method, options.against} - {ORIGINAL}:
        find_method(name)
    model, processor = _load(options, options.device)
    geometry = DecoderGeometry.from_config(model.config)
    if options.layer is not None and options.layer > geometry.num_layers:
        raise ValueError(f"--layer {options.layer}: the model has {geometry.num_layers} layers")
    recipe = recipe or _recipes_of(model, options)(options.reduction)
    against = Way.of(_recipe_against(model, options) or recipe, options.against)
    if not options.json:
        from fitprune_core.cli.tables import answers_in_words, doubts_in_words, figures_table
    for item in stream_comparison(
        model,
        processor,
        image,
        question,
        recipe,
        method=options.method,
        against=against,
        stay=options.stay,
        go=options.go,
        max_new_tokens=options.max_new_tokens,
    ):
        if isinstance(item, Answered) and not options.json:
            # The times take seconds more, and nothing is measured before the next item is asked for.
            print(answers_in_words(item.comparison), flush=True)
            if said := doubts_in_words(item.comparison, _evaluated(model, options)):
                print(said, flush=True)
        elif isinstance(item, Comparison):
            comparison = item
    if options.export is not None:
        from fitprune_core.report.export import export_comparison

        layer = None if options.layer is None else options.layer - 1
        export_comparison(comparison, image, geometry, options.export, layer)
    print(json.dumps(comparison.to_json(), ensure_ascii=False) if options.json else figures_table(comparison))


@contextmanager
def _over_samples(options: argparse.Namespace, check_out: Callable[..., None]) -> Iterator[tuple]:
    """Check the files, load the model; yields it, its processor, what to call with samples done, and the processes.

    check_out: raises ValueError for an output, and what is read for it, that cannot be.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from fitprune_core.samples.files import SamplesFile, check_pictures, check_samples

    with started_processes() as processes:

        def prepare() -> tuple[int, tuple]:
            check_out(options.out, (options.samples,))
            samples = SamplesFile(options.samples, options.images)
            total = check_samples(samples, warns=False)  # the run itself does
            check_pictures(samples)
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
    recipe = PruningRecipe.load(options.recipe) if options.recipe else None
    _import_models()
    from fitprune_core.cli.tables import scores_table
    from fitprune_core.evaluation.evaluation import evaluate
    from fitprune_core.evaluation.table import check_table
    from fitprune_core.pruning.methods.registry import find_methods

    find_methods(options.method)
    with _over_samples(options, check_table) as (model, processor, progress, processes):
        scores = evaluate(
            model,
            processor,
            options.samples,
            options.reduction if recipe is None else [recipe.reduction],
            processes.agree(lambda: _recipes_of(model, options)) if recipe is None else lambda _: recipe,
            options.out,
            methods=options.method,
            max_new_tokens=options.max_new_tokens,
            images=options.images,
            batch_size=options.batch_size,
            progress=progress,
            processes=processes,
        )
    if processes.is_main:
        print(scores_table(scores))


def run_calibrate(options: argparse.Namespace) -> None:
    """Collect the statistics of a model over a samples file."""
    _import_models()
    from fitprune_core.calibration.calibration import calibrate
    from fitprune_core.recipes.statistics import check_statistics_file

    with _over_samples(options, check_statistics_file) as (model, processor, progress, processes):
        done = calibrate(
            model,
            processor,
            options.samples,
            options.out,
            images=options.images,
            batch_size=options.batch_size,
            progress=progress,
            processes=processes,
        )
    if processes.is_main:
        left_out = f" ({done.left_out} left out)" if done.left_out else ""
        is_equal = done.fewest_tokens == done.most_tokens
        tokens = f"{done.most_tokens}" if is_equal else f"{done.fewest_tokens} to {done.most_tokens}"
        samples = f"{done.num_samples} {plural('sample', done.num_samples)}{left_out}"
        print(f"{options.out}: {samples}, {tokens} visual tokens each")


def run_fit(options: argparse.Namespace) -> None:
    """Fit a recipe from statistics."""
    from fitprune_core.recipes.fit import fit_recipe
    from fitprune_core.recipes.statistics import AttentionStatistics

    check_output(options.out, inputs=(options.statistics,), begins=b'{"schema":', what="a recipe")
    statistics = AttentionStatistics.load(options.statistics)
    recipe = fit_recipe(
        statistics,
        options.reduction,
        attention=options.attention,
        max_drop_layers=options.max_drop_layers,
        first_drop_layer=options.first_drop_layer,
        gather=options.gather,
    )
    recipe.save(options.out)
    print(
        f"{options.out}: saves {recipe.achieved_reduction:.2%} of visual FLOPs ({recipe.reduction:.2%} asked), "
        f"removes {' '.join(map(str, recipe.removed))} of {recipe.num_visual_tokens} visual tokens"
    )


COMMANDS = {"compare": run_compare, "calibrate": run_calibrate, "fit": run_fit, "evaluate": run_evaluate}


def _import_models() -> None:
    """Import torch and transformers: seconds of work, of which a fifth would go to looking for garbage.

    They make 600,000 objects that stay until the process ends, so nobody need look among them, neither now nor later.
    """
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        import fitprune_core.models.loading  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def _load(options: argparse.Namespace, device: str) -> tuple[Any, Any]:
    from fitprune_core.models.loading import load_model

    return load_model(options.model, **asdict(LoadOptions.of(options)) | {"device": device})


def _recipe_against(model: Any, options: argparse.Namespace) -> PruningRecipe | None:
    """The recipe of the first way, where it has a budget of its own."""
    from fitprune_core.recipes.store import OR_A_FILE

    if options.against_reduction is None:
        return None
    try:
        return _recipes_of(model, options)(options.against_reduction)
    except ValueError as error:
        words = str(error).removesuffix(OR_A_FILE)
        raise ValueError(f"--against-reduction {options.against_reduction:g}: {words}") from error


def _recipes_of(model: Any, options: argparse.Namespace) -> Callable[[float], PruningRecipe]:
    from fitprune_core.cost.decoder import DecoderGeometry
    from fitprune_core.models.loading import model_name
    from fitprune_core.recipes.store import recipe_source

    return recipe_source(model_name(model), DecoderGeometry.from_config(model.config), options.recipes)


def _evaluated(model: Any, options: argparse.Namespace) -> Sequence[Any]:
    """How sure the model's answers were in its own evaluation, and which of them pruning changed."""
    from fitprune_core.evaluation.known import read_known
    from fitprune_core.models.loading import model_name
    from fitprune_core.models.provenance import weights_digest

    return read_known(model_name(model), partial(weights_digest, model), options.recipes).sureness


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
