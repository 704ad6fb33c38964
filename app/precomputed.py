"""Examples that open at once: their comparisons, made beforehand and shown while they are those of the model at hand.

`make examples` (`python -m app.precomputed`) makes them anew, after the embedded model, its recipes or the examples
have changed. Times are not shown of them: they would be another machine's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.asking.scenes import EXAMPLES, Example, load_examples
from app.engine import Engine
from app.settings import Settings
from fitprune_core import MINI_LLAVA, Comparison, LoadOptions, compare
from fitprune_core.checks.files import read_json, write_whole
from fitprune_core.checks.words import shown
from fitprune_core.models.provenance import SHORT
from fitprune_core.report.reading import comparison_of

FOLDER = EXAMPLES / "precomputed"
FORMAT, VERSION = "fitprune-precomputed", 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """The comparison of an example, and the day it was made, "2026-11-28"."""

    comparison: Comparison
    made: str


def load_ready(engine: Engine, examples: Sequence[Example], folder: Path = FOLDER) -> dict[Example, Ready]:
    """What was made beforehand for these examples, where the model is the embedded one.

    The log says what is not current, and why.
    """
    found: dict[Example, Ready] = {}
    if not engine.is_demo:
        return found
    for example in examples:
        path = _path(folder, example)
        if not path.is_file():
            continue
        try:
            found[example] = read_ready(path, engine, example)
        except ValueError as error:
            logger.info("not used: %s; `make examples` makes it anew", error)
    return found


def read_ready(path: Path, engine: Engine, example: Example) -> Ready:
    """Raises ValueError, naming the file, for one that is damaged, or not what the engine would answer now."""
    entries = read_json(path, "a precomputed comparison")
    try:
        expected = {"format": FORMAT, "version": VERSION, **conditions_of(engine, example)}
        for name, value in expected.items():
            if entries[name] != value:
                raise ValueError(f"its {name} is {shown(entries[name])}, not {shown(value)}")
        comparison = comparison_of(entries["comparison"])
        if comparison.question != example.question:
            raise ValueError(f"its question is {shown(comparison.question)}, not {shown(example.question)}")
        if comparison.recipe != engine.recipe_for(_percent_of(example)):
            raise ValueError("its recipe is another")
        return Ready(comparison, str(entries["made"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} is damaged ({type(error).__name__}: {error})") from error
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def write_ready(folder: Path, engine: Engine, example: Example, comparison: Comparison) -> Path:
    """Write what `read_ready` reads; returns the file."""
    entries = comparison.to_json()
    del entries["conventions"]
    made = datetime.now(UTC).date().isoformat()
    about = {"format": FORMAT, "version": VERSION, "made": made, **conditions_of(engine, example)}
    path = _path(folder, example)
    write_whole(path, json.dumps({**about, "comparison": entries}, separators=(",", ":")) + "\n")
    return path


def conditions_of(engine: Engine, example: Example) -> dict[str, Any]:
    """What an answer depends on, beside its question and recipe: the weights, the picture, how long it may become."""
    picture = hashlib.sha256(example.open().tobytes()).hexdigest()[:SHORT]
    return {"model": engine.model_name, "weights": engine.weights, "picture": picture, "tokens": engine.max_new_tokens}


def _percent_of(example: Example) -> float:
    if example.percent is None:
        raise ValueError(f"the example {example.name} has no budget")
    return example.percent


def _path(folder: Path, example: Example) -> Path:
    return folder / f"{example.name}.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make all of them anew, and remove those of examples that are no more."""
    about = "Compare all examples anew with the embedded model, and remove what was made of examples that are no more."
    argparse.ArgumentParser(prog="python -m app.precomputed", description=about).parse_args(arguments)
    engine = Engine.from_settings(Settings(model=MINI_LLAVA, loading=LoadOptions(device="cpu")))
    written = set()
    for example in load_examples():
        image, recipe = example.open(), engine.recipe_for(_percent_of(example))
        comparison = compare(
            engine.model,
            engine.processor,
            image,
            example.question,
            recipe,
            max_new_tokens=engine.max_new_tokens,
            repeats=0,
        )
        path = write_ready(FOLDER, engine, example, comparison)
        written.add(path)
        answers = f"{comparison.original.answer!r}, pruned {comparison.pruned.answer!r}"
        print(f"{path.stat().st_size:>8,}  {path.name}: {example.question} {answers}")
    for path in set(FOLDER.glob("*.json")) - written:
        path.unlink()
    size = sum(path.stat().st_size for path in written)
    print(f"{size:>8,}  bytes in {len(written)} files, weights {engine.weights}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
