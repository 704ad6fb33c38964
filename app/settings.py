"""What the app can be told when it starts, from the command line or from the environment."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fitprune_core import RECIPES, LoadOptions
from fitprune_core.checks.program import OneLineParser
from fitprune_core.run.pixels import MAX_PIXELS
from fitprune_core.run.questions import MAX_QUESTION_CHARACTERS

PREFIX = "FITPRUNE_"
RUNS = Path(tempfile.gettempdir()) / "fitprune-studio-runs"
# Need not be there; `make space` carries it where git knows it.
GALLERY = Path(__file__).resolve().parents[1] / "assets" / "gallery"

# A Hugging Face Space says through Gradio's own variables where an app has to listen.
_GRADIO = {"host": "GRADIO_SERVER_NAME", "port": "GRADIO_SERVER_PORT"}


def _limit(default: int, most: int, about: str) -> int:
    """A field with what `_parser` needs: the largest value that it may have, and a line about it."""
    return field(default=default, metadata={"most": most, "about": about})


@dataclass(frozen=True)
class Limits:
    """How much may be asked of one server, so that nobody can take it from the others. All are whole numbers from 1 up.

    Attributes:
        max_upload_mb: an uploaded file, or a picture in a data URL, in MB of 2^20 bytes.
        max_stored_mb: what visitors left on the disk, in MB of 2^20 bytes: all uploads, and once more the runs of
            Inspect and Recipes; at least twice the largest upload.
        max_kept_mb: comparisons that sessions keep in memory, so that they can be saved, in MB of 2^20 bytes.
        max_pixels: a picture, width times height.
        max_question: a question, in characters.
        max_seconds: a request, from its turn at the model on.
        max_requests, max_requests_per_address: requests for the model within a minute, of one visitor and of all from
            one address; for the address uploads count, too, and saved comparisons that are shown again.
        max_waiting, max_waiting_per_address: visitors that wait for the model, in all and of one address; also the
            runs of Inspect and Recipes that are not over. Four times as many events of any kind may be on their way.
    """

    max_upload_mb: int = _limit(16, 2_048, "largest upload, in MB")
    max_stored_mb: int = _limit(2_048, 1_000_000, "most MB on disk of all uploads, and as many of all runs")
    max_kept_mb: int = _limit(512, 1_000_000, "most MB in memory of comparisons that can be saved")
    max_pixels: int = _limit(MAX_PIXELS, MAX_PIXELS, "largest picture, in pixels")
    max_question: int = _limit(MAX_QUESTION_CHARACTERS, MAX_QUESTION_CHARACTERS, "longest question, in characters")
    max_seconds: int = _limit(300, 86_400, "longest time of a request at the model, in seconds")
    max_requests: int = _limit(60, 100_000, "most requests of a visitor within a minute")
    max_requests_per_address: int = _limit(240, 100_000, "most requests and uploads from an address within a minute")
    max_waiting: int = _limit(20, 10_000, "most visitors that wait for the model")
    max_waiting_per_address: int = _limit(10, 10_000, "most of them from one address")

    def __post_init__(self) -> None:
        if self.max_stored_mb < 2 * self.max_upload_mb:
            twice = f"twice the {self.max_upload_mb:,} MB of an upload"
            raise ValueError(f"{self.max_stored_mb:,} MB on disk are too few: they must hold at least {twice}")

    @property
    def upload_bytes(self) -> int:
        return self.max_upload_mb * 2**20

    @property
    def stored_bytes(self) -> int:
        return self.max_stored_mb * 2**20

    @property
    def kept_bytes(self) -> int:
        return self.max_kept_mb * 2**20


DEFAULTS = Limits()


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
        gallery: folder of exported comparisons that the Compare page offers.
        limits: how much may be asked of the server.
    """

    model: str = "auto"
    loading: LoadOptions = LoadOptions()
    recipes: Path = RECIPES
    max_new_tokens: int = 64
    host: str = "127.0.0.1"
    port: int = 7860
    runs: Path = RUNS
    gallery: Path = GALLERY
    limits: Limits = DEFAULTS

    @classmethod
    def read(cls, arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
        """Read options; the command line wins over the environment.

        A value that cannot be ends the program with exit status 2 and one line on standard error.
        """
        environment = os.environ if environment is None else environment
        parser = _parser(environment)
        parsed = parser.parse_args(arguments)
        limits = {limit.name: getattr(parsed, limit.name) for limit in fields(Limits)}
        apart = {*LoadOptions.names(), *limits}
        rest = {name: value for name, value in vars(parsed).items() if name not in apart}
        try:
            return cls(loading=LoadOptions.of(parsed), limits=Limits(**limits), **rest)
        except ValueError as error:
            parser.error(str(error))


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
        default = of_environment(name) or getattr(Settings if hasattr(Settings, name) else Limits, name)
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, type=type, help=f"{help} [{default}]")

    add("model", "model folder, Hub id, mini-llava, or auto: LLaVA-1.5-7B where there is CUDA, else mini-llava")
    LoadOptions.add_to(parser, of_environment)
    add("recipes", "folder of statistics and recipes", Path)
    add("max_new_tokens", "longest answer, in tokens", _whole_number(1, 4096))
    add("host", "address to listen on")
    add("runs", "folder of the Inspect page's runs", Path)
    add("gallery", "folder of comparisons, made by compare --export FILE.json or .html, that the page offers", Path)
    add("port", "port to listen on", _whole_number(1, 65535))
    for limit in fields(Limits):
        add(limit.name, limit.metadata["about"], _whole_number(1, limit.metadata["most"]))
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
