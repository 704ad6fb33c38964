"""How a model is loaded: one set of options for the library, the command line, the app and lmms-eval's plugin.

Nothing heavy is imported here, so that a command line can be read before torch is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, fields


def _option(default: str, about: str, *, short: str | None = None) -> str:
    """A field with what `add_to` needs: a line about it, and a shorter name that is accepted as well."""
    return field(default=default, metadata={"about": about, "short": short})


@dataclass(frozen=True)
class LoadOptions:
    """The keyword arguments of `load_model`, as texts: `load_model(name, **asdict(options))`.

    What may stand in each is looked at when a model is loaded, where torch says what this machine can do.

    Attributes:
        device: "auto" is CUDA where there is one, else the CPU.
        dtype: "auto" is float16 on CUDA, bfloat16 for families that float16 is too narrow for, float32 elsewhere.
        image_aspect: what becomes of a picture that is no square: "crop", "pad", or "auto", the checkpoint's own way.
        attn_implementation: of the decoder: "sdpa", "eager" or "flash_attention_2"; "auto" is sdpa.
        quantization: "4bit" or "8bit" weights of the decoder, on CUDA by bitsandbytes; "none" leaves them as they are.
    """

    device: str = _option("auto", "auto, cpu or cuda")
    dtype: str = _option("auto", "auto, float32, float16 or bfloat16")
    image_aspect: str = _option(
        "auto", "what becomes of a picture that is no square: crop, pad, or auto, the checkpoint's own way"
    )
    attn_implementation: str = _option(
        "auto", "attention of the decoder: sdpa, eager, flash_attention_2, or auto, which is sdpa", short="attn"
    )
    quantization: str = _option(
        "none", "weights of the decoder in fewer bits, on CUDA: 4bit, 8bit or none", short="quantize"
    )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all options."""
        return tuple(option.name for option in fields(LoadOptions))

    @classmethod
    def add_to(
        cls, parser: argparse.ArgumentParser, default_of: Callable[[str], str | None] = lambda name: None
    ) -> None:
        """Give a parser an option for each field.

        default_of: a default from elsewhere (the environment, say) by the option's name or its shorter one, if any.
        """
        for option in fields(cls):
            known = [name for name in (option.name, option.metadata["short"]) if name]
            default = next((value for name in known if (value := default_of(name))), option.default)
            flags = ["--" + name.replace("_", "-") for name in known]
            about = f"{option.metadata['about']} [{default}]"
            parser.add_argument(*flags, dest=option.name, default=default, metavar="X", help=about)

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> LoadOptions:
        """The options that a parser of `add_to` has read."""
        return cls(**{name: getattr(parsed, name) for name in cls.names()})
