"""Scenes and questions as a samples file: `make scenes OUT=DIR COUNT=N SEED=S`, or `python -m app.demo_model.samples`.

What `calibrate` and `evaluate` read: pictures beside a `samples.jsonl`, the same for the same seed. Plain and crowded
scenes take turns, and so do the kinds of question, so that every kind has its share of the statistics; each line of
the file says which `kind` it asks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

from app.demo_model.crowded import crowded_scene
from app.demo_model.questions import KINDS, Question, ask
from app.demo_model.scenes import Scene, random_scene

# Apart from the seeds that training, its validation and the accuracy table draw.
FIRST_SEED = 3_000_000_000
_MAKERS = (random_scene, crowded_scene)


def drawn_samples(count: int, seed: int) -> Iterator[tuple[Scene, Question]]:
    """`count` scenes with one question each."""
    kinds = [itertools.cycle(KINDS) for _ in _MAKERS]
    for number in range(count):
        turn = number % len(_MAKERS)
        scene = _MAKERS[turn](FIRST_SEED + seed * 1_000_000 + number)
        rng = random.Random(f"sample-{seed}-{number}")
        question = None
        while question is None:  # a scene without a sign cannot be asked for its number: the next kind takes its place
            question = ask(next(kinds[turn]), scene, rng)
        yield scene, question


def write_samples(folder: Path, count: int, seed: int) -> Path:
    """Write the pictures (PNG) and `samples.jsonl` into `folder`; returns the samples file."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (scene, question) in enumerate(drawn_samples(count, seed)):
        name = f"scene-{number:05d}.png"
        scene.draw().save(folder / name)
        entry = {"id": f"{seed}-{number}", "image": name, "question": question.text, "answer": question.answer,
                 "kind": question.kind}  # fmt: skip
        lines.append(json.dumps(entry) + "\n")
    path = folder / "samples.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures and samples.jsonl")
    parser.add_argument("--count", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    print(write_samples(args.out, args.count, args.seed))


if __name__ == "__main__":
    main()
