"""How a task wants its answers: lmms-eval's `generation_kwargs`, read as far as they can be followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fitprune_core.checks.words import shown
from fitprune_core.run.decoding import Decoding

# What lmms-eval's LLaVA models take where a task sets no limit.
MAX_NEW_TOKENS = 1024

# lmms-eval puts its few-shot delimiter there when a task names no stop string. Its LLaVA models stop at none; this one
# would cut an answer of several paragraphs (MM-Vet asks for them) after the first.
FILLED_IN = "\n\n"

KNOWN = ("max_new_tokens", "until", "do_sample", "temperature", "top_p", "top_k", "num_beams")


def decoding_of_task(options: Mapping[str, Any]) -> tuple[Decoding, tuple[str, ...]]:
    """Read a task's generation_kwargs, which stay as they are; returns them checked, and warnings.

    `do_sample` decides where it is given; where it is not, a temperature above 0 means sampling. What only sampling
    looks at is passed over where there is none, whatever it says (`top_p: 0`, in many greedy tasks). An option that is
    not known may matter, so a warning names it. Raises ValueError naming a known option that cannot be followed.
    """
    given = {name: value for name, value in options.items() if value is not None}
    warnings = [
        f"generation option {name}: {shown(value)} has no effect here; known are {', '.join(KNOWN)}"
        for name, value in given.items()
        if name not in KNOWN
    ]
    sample = given.get("do_sample", bool(given.get("temperature")))
    if not isinstance(sample, bool):
        raise ValueError(f"do_sample is {shown(sample)}; it must be true or false")
    sampling = _sampling(given) if sample else {}
    if sampling.get("temperature") == 0:
        warnings.append("do_sample is true and temperature is 0: the likeliest token is taken, nothing is drawn")
        sampling = {}
    decoding = Decoding(
        max_new_tokens=_count(given, "max_new_tokens") or MAX_NEW_TOKENS,
        num_beams=_count(given, "num_beams") or 1,
        until=_stop_strings(given.get("until", ())),
        **sampling,
    )
    return decoding, tuple(warnings)


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    temperature = _number(given, "temperature", "a number from 0 up", lambda value: value >= 0)
    return {
        "temperature": 1.0 if temperature is None else temperature,
        "top_p": _number(given, "top_p", "a number above 0, up to 1", lambda value: 0 < value <= 1),
        "top_k": _count(given, "top_k"),
    }


def _stop_strings(until: Any) -> tuple[str, ...]:
    stops = (until,) if isinstance(until, str) else until
    if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise ValueError(f"until is {shown(until)}; it must be a text or a list of texts")
    return tuple(stop for stop in dict.fromkeys(stops) if stop and stop != FILLED_IN)


def _count(given: Mapping[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{name} is {shown(value)}; it must be a whole number from 1 up")
    return value


def _number(given: Mapping[str, Any], name: str, words: str, fits: Callable[[float], bool]) -> float | None:
    value = given.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not fits(value)):
        raise ValueError(f"{name} is {shown(value)}; it must be {words}")
    return value
