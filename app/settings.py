"""What the app can be told when it starts, from the command line or from the environment."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fitprune_core.recipes.published import RECIPES

PREFIX = "FITPRUNE_"

# A Hugging Face Space says through Gradio's own variables where an app has to listen.
_GRADIO = {"host": "GRADIO_SERVER_NAME", "port": "GRADIO_SERVER_PORT"}


@dataclass(frozen=True)
class Settings:
    """Every option of `python app.py`; each can also be set as FITPRUNE_<NAME> in the environment.

    Attributes:
        model: folder, Hub id, "mini-llava", or "auto" (see `fitprune_core.load_model`).
        device, dtype, image_aspect: as `fitprune_core.load_model` takes them.
        attn: the decoder's attention backend, `load_model`'s attn_implementation.
        quantize: bits of the decoder's weights, `load_model`'s quantization.
        recipes: folder that holds a folder of statistics or recipes for each model.
        max_new_tokens: longest answer, in tokens.
        host, port: where to listen.
    """

    model: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    image_aspect: str = "auto"
    attn: str = "auto"
    quantize: str = "none"
    recipes: Path = RECIPES
    max_new_tokens: int = 64
    host: str = "127.0.0.1"
    port: int = 7860

    @classmethod
    def read(cls, arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
        """Read options; the command line wins over the environment.

        A value that cannot be ends the program with exit status 2 and one line on standard error.
        """
        environment = os.environ if environment is None else environment
        parser = _parser(environment)
        return cls(**vars(parser.parse_args(arguments)))


class _OneLineParser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        print(f"app.py: {message}", file=sys.stderr)
        raise SystemExit(2)


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="app.py", description="Serve FitPrune Studio.", epilog="Every option is also read from FITPRUNE_<NAME>."
    )

    def add(name: str, help: str, type=str) -> None:
        # argparse runs `type` on defaults that are texts, so the environment is checked like the command line.
        names = (PREFIX + name.upper(), _GRADIO.get(name, ""))
        default = next((environment[known] for known in names if environment.get(known)), getattr(Settings, name))
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, type=type, help=f"{help} [{default}]")

    add("model", "model folder, Hub id, mini-llava, or auto: LLaVA-1.5-7B where there is CUDA, else mini-llava")
    add("device", "auto, cpu or cuda")
    add("dtype", "auto, float32, float16 or bfloat16")
    add("image_aspect", "what becomes of a picture that is no square: crop, pad, or auto, the checkpoint's own way")
    add("attn", "attention of the decoder: sdpa, eager, flash_attention_2, or auto, which is sdpa")
    add("quantize", "weights of the decoder in fewer bits, on CUDA: 4bit, 8bit or none")
    add("recipes", "folder of statistics and recipes", Path)
    add("max_new_tokens", "longest answer, in tokens", _whole_number(1, 4096))
    add("host", "address to listen on")
    add("port", "port to listen on", _whole_number(1, 65535))
    return parser


def _whole_number(smallest: int, largest: int):
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = smallest - 1
        if not smallest <= number <= largest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {smallest} to {largest}")
        return number

    return read
