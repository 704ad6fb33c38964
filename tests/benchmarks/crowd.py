"""Fifty visitors at once: `python -m tests.benchmarks.crowd [--clients 50] [--seconds 120]`.

Starts the app on mini-llava with its usual limits, but for requests within a minute. Each client comes from an address
of its own and asks one thing after the other; who is turned away tries again in a second or two. Every answer is
compared with that of a single visitor, asked before. Exits with status 1 where one differs, where a refusal does not
say why, where somebody is not served, or waits without end, and where memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import httpx

from app.asking.scenes import load_examples
from app.settings import Limits
from tests.benchmarks.serving import running

PERCENTS = (30, 80)
FULL = re.compile(r"\d+ visitors are waiting for the model already, as many as may|Queue is full. Max size is")
_PATIENCE = httpx.Timeout(300.0)
# Memory in MB that a server may gain while a crowd is there, beside what its caches take at first.
_GROWTH = 64
# Flags of a server that all of a measurement comes to.
MANY_REQUESTS = ("--max-requests", "100000", "--max-requests-per-address", "100000")


@dataclass
class Client:
    """What one client met with: seconds of each answer, how often it was turned away, and what else went wrong."""

    waits: list[float] = field(default_factory=list)
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    begun: float | None = None  # when it began to wait for what it asks now
    longest: float = 0.0  # seconds without an answer, turned away or in line


def questions() -> list[tuple[str, list[Any]]]:
    """What is asked, of which endpoint: each example at each budget, its picture as a data URL.

    The first is a comparison, which takes seconds, since it is measured; the others are sweeps of one way.
    """
    found: list[tuple[str, list[Any]]] = []
    for example in load_examples():
        picture = base64.b64encode(example.picture.read_bytes()).decode()
        file = {"url": f"data:image/png;base64,{picture}", "meta": {"_type": "gradio.FileData"}}
        found += [("sweep", [file, example.question, [percent], ["fitprune"]]) for percent in PERCENTS]
    (_, [file, question, [percent], _]), *others = found
    return [("compare", [file, question, percent]), *others]


async def ask(http: httpx.AsyncClient, question: tuple[str, list[Any]], address: str) -> tuple[bool, Any]:
    """Whether there was an answer, and what was said."""
    (name, data), headers = question, {"X-Forwarded-For": address}
    begun = await http.post(f"gradio_api/call/{name}", json={"data": data}, headers=headers)
    if begun.status_code != 200:
        return False, begun.text
    where = f"gradio_api/call/{name}/{begun.json()['event_id']}"
    async with http.stream("GET", where, headers=headers) as stream:
        async for event, said in _events(stream):
            if event in ("complete", "error"):
                return event == "complete", said[0] if event == "complete" else said
    return False, "the stream ended"


async def _events(stream: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    event = ""
    async for line in stream.aiter_lines():
        if line.startswith("event:"):
            event = line[6:].strip()
        elif line.startswith("data:"):
            yield event, json.loads(line[5:])


def told(found: Any) -> tuple[Any, ...]:
    """What must not depend on who else is there: both answers, and the patches that are kept."""
    found = found[0] if isinstance(found, list) else found
    return found["original"]["answer"], found["pruned"]["answer"], found["kept"]


async def visit(client: Client, number: int, http: httpx.AsyncClient, asked: list, expected: list, end: float) -> None:
    """What one client does until the end, and until it was answered once: it asks, and tries again when it is turned
    away.
    """
    rng = random.Random(number)
    address = f"198.51.{number // 250}.{number % 250 + 1}"
    client.begun = time.monotonic()
    while time.monotonic() < end or (not client.waits and not client.wrong):
        which = rng.randrange(len(asked))
        is_well, said = await ask(http, asked[which], address)
        waited = time.monotonic() - client.begun
        client.longest = max(client.longest, waited)
        if is_well:
            client.waits.append(waited)
            client.begun = time.monotonic()
            if told(said) != expected[which]:
                client.wrong.append(f"another answer to question {which}")
        elif FULL.search(json.dumps(said)):
            client.refused += 1
            await asyncio.sleep(rng.uniform(0.5, 2.0))
        else:
            client.wrong.append(str(said)[:200])
            await asyncio.sleep(1.0)


def resident(pid: int) -> float:
    """MB of memory that a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


async def measure(url: str, pid: int, clients: int, seconds: float) -> bool:
    """Let them in, print what they met with, and return whether all was well."""
    asked, memory = questions(), []
    # Every client may hold a connection for each of its two requests.
    bounds = httpx.Limits(max_connections=2 * clients + 10)
    async with httpx.AsyncClient(base_url=url, timeout=_PATIENCE, limits=bounds) as http:
        expected, spent = [], []
        for question in asked:
            began = time.monotonic()
            is_well, said = await ask(http, question, "198.51.100.1")
            assert is_well, said
            expected.append(told(said))
            spent.append(time.monotonic() - began)
        print("a single visitor was answered; the crowd comes", flush=True)
        crowd = [Client() for _ in range(clients)]
        end = time.monotonic() + seconds
        visits = [asyncio.ensure_future(visit(one, at, http, asked, expected, end)) for at, one in enumerate(crowd)]
        while time.monotonic() < end:
            memory.append(resident(pid))
            await asyncio.sleep(1.0)
        await asyncio.gather(*visits)
    return report(crowd, memory, spent, seconds)


def report(crowd: list[Client], memory: list[float], alone: list[float], seconds: float) -> bool:
    """Print the figures; returns whether they are as they should be."""
    waits = sorted(wait for client in crowd for wait in client.waits)
    served = Counter(len(client.waits) for client in crowd)
    wrong = [words for client in crowd for words in client.wrong]
    early, late = median(memory[len(memory) // 4 : len(memory) // 2]), median(memory[-len(memory) // 4 :])
    # Who stands in a full line is served within so many turns; others have to get in first.
    bound = 3 * (Limits().max_waiting + len(crowd)) * max(fmean(alone), seconds / max(len(waits), 1))
    longest = max(client.longest for client in crowd)
    print(f"{len(crowd)} clients, {seconds:.0f} s")
    print(f"alone a request takes {fmean(alone):.2f} s on average, one that is measured {alone[0]:.2f} s")
    print(f"answers: {len(waits)}, each compared with that of a single visitor; other than expected: {len(wrong)}")
    print(f"refusals, each with the limit in words: {sum(client.refused for client in crowd)}")
    if waits:
        print(f"seconds from asking to the answer: median {median(waits):.1f}, longest {waits[-1]:.1f}")
    print(f"longest without an answer: {longest:.1f} s (may be {bound:.0f} s)")
    print(f"clients by answers that they got: {', '.join(f'{n}: {served[n]}' for n in sorted(served))}")
    print(f"memory: {early:.0f} MB in the second quarter, {late:.0f} MB in the last, at most {max(memory):.0f} MB")
    for words, count in Counter(wrong).most_common(5):
        print(f"{count} times: {words}")
    return not wrong and bool(waits) and longest <= bound and late - early <= _GROWTH and not served[0]


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.crowd", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args(arguments)
    with running(*MANY_REQUESTS) as (url, pid):
        return 0 if asyncio.run(measure(url, pid, options.clients, options.seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
