"""What the app can be told when it starts, from the command line or from the environment."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitprune_core import RECIPES, LoadOptions
from fitprune_core.cli.options import OneLineParser

PREFIX = "FITPRUNE_"
RUNS = Path(tempfile.gettempdir()) / "fitprune-studio-runs"

# A Hugging Face Space says through Gradio's own variables where an app has to listen.
_GRADIO = {"host": "GRADIO_SERVER_NAME", "port": "GRADIO_SERVER_PORT"}


@dataclass(frozen=True)
class Settings:
    """Every option of `python app.py`; each can also be set as FITPRUNE_<NAME> in the environment.

    Attributes:
        model: folder, Hub id, "mini-llava", or "auto" (see `fitprune_core.load_model`).
        loading: device, dtype and whatever else `fitprune_core.load_model` takes.
        recipes: folder that holds a folder of statistics or recipes for each model.
        max_new_tokens: longest answer, in tokens.
        host, port: where to listen.
        runs: folder where Inspect keeps its runs for a day, so that they go on after the server was stopped.
    """

    model: str = "auto"
    loading: LoadOptions = LoadOptions()
    recipes: Path = RECIPES
    max_new_tokens: int = 64
    host: str = "127.0.0.1"
    port: int = 7860
    runs: Path = RUNS

    @classmethod
    def read(cls, arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
        """Read options; the command line wins over the environment.

        A value that cannot be ends the program with exit status 2 and one line on standard error.
        """
        environment = os.environ if environment is None else environment
        parser = _parser(environment)
        parsed = parser.parse_args(arguments)
        rest = {name: value for name, value in vars(parsed).items() if name not in LoadOptions.names()}
        return cls(loading=LoadOptions.of(parsed), **rest)


class _Parser(OneLineParser):
    program = "app.py"


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="app.py", description="Serve FitPrune Studio.", epilog="Every option is also read from FITPRUNE_<NAME>."
    )

    def of_environment(name: str) -> str | None:
        names = (PREFIX + name.upper(), _GRADIO.get(name, ""))
        return next((environment[known] for known in names if environment.get(known)), None)

    def add(name: str, help: str, type: Callable[[str], Any] = str) -> None:
        # argparse runs `type` on defaults that are texts, so the environment is checked like the command line.
        default = of_environment(name) or getattr(Settings, name)
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, type=type, help=f"{help} [{default}]")

    add("model", "model folder, Hub id, mini-llava, or auto: LLaVA-1.5-7B where there is CUDA, else mini-llava")
    LoadOptions.add_to(parser, of_environment)
    add("recipes", "folder of statistics and recipes", Path)
    add("max_new_tokens", "longest answer, in tokens", _whole_number(1, 4096))
    add("host", "address to listen on")
    add("runs", "folder of the Inspect page's runs", Path)
    add("port", "port to listen on", _whole_number(1, 65535))
    return parser


def _whole_number(smallest: int, largest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = smallest - 1
        if not smallest <= number <= largest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {smallest} to {largest}")
        return number

    return read
