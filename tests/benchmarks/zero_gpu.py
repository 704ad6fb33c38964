"""The app with the real package `spaces`, as on ZeroGPU: `python -m tests.benchmarks.zero_gpu`.

The package is not among the requirements: `pip install --target FOLDER --no-deps spaces`, and PYTHONPATH=FOLDER. A
stand-in for the service that lends GPUs says yes, or no as ZeroGPU does. Where there is no GPU, requests are made
twice: with a worker process that finds none, and with one that keeps the weights in its own memory, as it would put
them into a GPU's. Everything between is the package's: emulated CUDA, packing, forking, pickling, its words. Prints
what a visitor is told; exits with status 1 where an answer is not that of an app without the package.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr
import httpx
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app.asking.scenes import load_examples
from tests.app.serving import call
from tests.benchmarks.serving import running

# What the service says to a request for a GPU: status, headers, body.
_LENT = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "0", "allowToken": "token"}
ANSWERS: dict[str, tuple[int, dict[str, str], Any]] = {
    "a GPU is lent": (200, {}, _LENT),
    "the quota is used up": (429, {"X-Approve-Result": "quota-exceeded"}, {"left": 3, "wait": 3_600}),
    "the call would take too long": (429, {"X-Approve-Result": "illegal-duration"}, {"left": 3, "wait": -1}),
    "no GPU is free": (503, {}, {}),
    "the service is broken": (500, {}, {}),
}
# What the Space's proxy tells of who asks, for the service; it is not looked into.
_SIGNED_IN = {"X-IP-Token": "e30.e30.e30"}
# Runs app.py with a build of torch that knows nothing of CUDA, as the package would with one that does.
_NO_CUDA = """
import runpy
import torch

def none_here():
    raise RuntimeError("No CUDA GPUs are available")

def in_a_bad_fork():
    return False

torch.version.cuda = "13.0"
torch._C._cuda_init = none_here
torch.cuda._is_in_bad_fork = in_a_bad_fork
import spaces
{}
runpy.run_path("app.py", run_name="__main__")
"""
# A worker that puts the weights into its own memory, as it would put them into a GPU's.
_OWN_MEMORY = """
from spaces.zero.torch import patching

def move(callback=None):
    for pack in patching.tensor_packs:
        with open(pack.path(), "rb") as file:
            for tensor, size, aligned in [*(each for batch in pack.batches for each in batch), *pack.big_tensors]:
                there = torch.tensor([], dtype=tensor.dtype)
                read = torch.frombuffer(bytearray(file.read(aligned)), dtype=torch.uint8)
                there.set_(read.untyped_storage(), 0, tensor.shape, tensor.stride())
                for fake in pack.fakes[tensor]:
                    fake.data = there

spaces.zero.torch.init = lambda uuid: None
spaces.zero.torch.move = move
"""


class Lender:
    """Stands in for the service that lends GPUs. `mood` is a key of `ANSWERS`; `asked` are the seconds asked for."""

    def __init__(self) -> None:
        self.mood, self.asked, self.lent = "a GPU is lent", [], 0

    def schedule(self, query: str) -> tuple[int, dict[str, str], Any]:
        self.asked += [int(each.split("=")[1]) for each in query.split("&") if each.startswith("durationSeconds=")]
        self.lent += self.mood == "a GPU is lent"
        return ANSWERS[self.mood]


@contextlib.contextmanager
def lending() -> Iterator[tuple[Lender, str]]:
    """The stand-in, and the address at which it answers inside the block."""
    lender = Lender()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            path, _, query = self.path.partition("?")
            status, headers, body = lender.schedule(query) if path == "/schedule" else (200, {}, {})
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {
                **headers,
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield lender, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def ask(url: str, example: Any) -> tuple[Any, str]:
    """The two answers to an example's question, or None; and what a script is told instead."""
    try:
        found = Client(url, verbose=False, headers=_SIGNED_IN).predict(
            handle_file(str(example.picture)), example.question, example.percent, api_name="/compare"
        )
    except AppError as error:
        return None, str(error)
    return (found["original"]["answer"], found["pruned"]["answer"]), ""


def on_the_page(url: str, name: str) -> list[str]:
    """What the page's notices say after a click on the button `name`, with inputs as they are at first."""
    config = httpx.get(f"{url}config", timeout=60).json()
    blocks = {block["id"]: block for block in config["components"]}
    (event,) = [
        each
        for each in config["dependencies"]
        for block, kind in each["targets"]
        if kind == "click" and blocks[block]["props"].get("elem_id") == name and each["backend_fn"]
    ]
    data = [blocks[block]["props"].get("value") for block in event["inputs"]]
    outputs = [blocks[block]["props"].get("elem_id") or "" for block in event["outputs"]]
    told = []
    for message in call(url, event["id"], data, patience=300):
        for at, value in enumerate(message.get("output", {}).get("data") or []):
            if outputs[at].endswith("notice") and isinstance(value, dict) and "text" in value:
                told.append(value["text"])
        if message.get("success") is False:
            told.append(str(message["output"].get("error")))
    return told


def try_out(title: str, lender: Lender, start: Callable[[], Any], expected: list[Any]) -> bool:
    """Start the app and make every kind of request; returns whether answers are as expected, None for a refusal."""
    print(f"\n{title}", flush=True)
    lender.mood, lender.asked = "a GPU is lent", []
    with start() as (url, _):
        examples = load_examples()[: len(expected)]
        found = []
        for example in examples:
            answers, told = ask(url, example)
            found.append(answers)
            print(f"  {example.question} {answers or told}")
        print(f"  seconds asked for: {sorted(set(lender.asked))}")
        for mood in ANSWERS:
            lender.mood = mood
            print(f"  where {mood}, a script is told: {ask(url, examples[0])[1] or 'the answers'}")
        lender.mood = "a GPU is lent"
        print(f"  Ask on the page Inspect: {on_the_page(url, 'ask')}")
        print(f"  Fit on the page Recipes: {on_the_page(url, 'fit')}", flush=True)
    return found == expected


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.zero_gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--verbose", action="store_true", help="show what the app and the package say")
    log = None if parser.parse_args(arguments).verbose else subprocess.DEVNULL
    print(f"spaces {importlib.metadata.version('spaces')}, torch {torch.__version__}, gradio {gr.__version__}")
    examples = load_examples()[:3]
    with running() as (url, _):
        expected = [ask(url, example)[0] for example in examples]
    with lending() as (lender, address), tempfile.TemporaryDirectory() as folder:
        environment = {
            "SPACES_ZERO_GPU": "true",
            "SPACES_ZERO_DEVICE_API_URL": address,
            "ZEROGPU_OFFLOAD_DIR": f"{folder}/tensors",
        }
        start = partial(running, environment=environment, log=log)
        if torch.cuda.is_available():
            return 0 if try_out("On a GPU", lender, start, expected) else 1
        without, instead = (["-c", _NO_CUDA.format(more)] for more in ("", _OWN_MEMORY))
        is_well = try_out("A worker that finds no GPU", lender, partial(start, program=without), [None])
        title = "A worker that keeps the weights in its own memory"
        is_well &= try_out(title, lender, partial(start, program=instead), expected)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
