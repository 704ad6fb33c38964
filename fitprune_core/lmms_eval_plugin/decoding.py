"""How a task wants its answers: lmms-eval's `generation_kwargs` as arguments of `generate`, and stop strings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# What lmms-eval's LLaVA models take where a task sets no limit.
MAX_NEW_TOKENS = 1024

# lmms-eval puts its few-shot delimiter there when a task names no stop string. Its LLaVA models stop at none; this one
# would cut an answer of several paragraphs (MM-Vet asks for them) after the first.
FILLED_IN = "\n\n"

KNOWN = ("max_new_tokens", "until", "do_sample", "temperature", "top_p", "top_k", "num_beams")


@dataclass(frozen=True)
class Decoding:
    """Checked options of one request.

    Attributes:
        max_new_tokens: longest answer.
        num_beams: beams; 1 is no beam search.
        temperature: above 0 to sample, None to take the likeliest token.
        top_p, top_k: what sampling chooses from; None for everything.
        until: the answer ends before the first of these.
    """

    max_new_tokens: int = MAX_NEW_TOKENS
    num_beams: int = 1
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    until: tuple[str, ...] = ()

    @classmethod
    def from_task(cls, options: Mapping[str, Any]) -> Decoding:
        """Read a task's generation_kwargs, which stay as they are.

        `do_sample` decides where it is given; where it is not, a temperature above 0 means sampling. Raises ValueError
        naming the option that is unknown or cannot be.
        """
        unknown = [name for name in options if name not in KNOWN]
        if unknown:
            raise ValueError(f"generation option {', '.join(unknown)} is not known; known are {', '.join(KNOWN)}")
        given = {name: value for name, value in options.items() if value is not None}
        temperature = _number(given, "temperature", "a number from 0 up", lambda value: value >= 0)
        sample = given.get("do_sample", bool(temperature))
        if not isinstance(sample, bool):
            raise ValueError(f"do_sample is {sample!r}; it must be true or false")
        if sample and temperature == 0:
            raise ValueError("do_sample is true and temperature is 0; sampling needs a temperature above 0")
        top_p = _number(given, "top_p", "a number above 0, up to 1", lambda value: 0 < value <= 1)
        return cls(
            max_new_tokens=_count(given, "max_new_tokens", MAX_NEW_TOKENS),
            num_beams=_count(given, "num_beams", 1),
            temperature=(1.0 if temperature is None else temperature) if sample else None,
            top_p=top_p if sample else None,
            top_k=_count(given, "top_k", None) if sample else None,
            until=_stop_strings(given.get("until", ())),
        )

    def arguments(self, tokenizer: Any) -> dict[str, Any]:
        """Arguments of `model.generate`. None where sampling is off, so that no checkpoint's own settings come in."""
        stopping = {"stop_strings": list(self.until), "tokenizer": tokenizer} if self.until else {}
        return {
            "max_new_tokens": self.max_new_tokens,
            "num_beams": self.num_beams,
            "do_sample": self.temperature is not None,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            **stopping,
        }

    def cut(self, text: str) -> str:
        """The answer before the first stop string, without white space around it."""
        for stop in self.until:
            text = text.partition(stop)[0]
        return text.strip()


def _stop_strings(until: Any) -> tuple[str, ...]:
    stops = (until,) if isinstance(until, str) else until
    if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise ValueError(f"until is {until!r}; it must be a text or a list of texts")
    return tuple(stop for stop in dict.fromkeys(stops) if stop and stop != FILLED_IN)


def _count(given: Mapping[str, Any], name: str, default: int | None) -> int | None:
    value = given.get(name, default)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{name} is {value!r}; it must be a whole number from 1 up")
    return value


def _number(given: Mapping[str, Any], name: str, words: str, fits: Callable[[float], bool]) -> float | None:
    value = given.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not fits(value)):
        raise ValueError(f"{name} is {value!r}; it must be {words}")
    return value
