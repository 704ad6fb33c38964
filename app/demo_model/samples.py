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
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from app.demo_model.crowded import WORLDS
from app.demo_model.questions import KINDS, Question, ask
from app.demo_model.scenes import Scene

Item = tuple[str, Image.Image, str, str]  # kind, picture, question, true answer

# Apart from the seeds that training, its validation and the accuracy table draw.
FIRST_SEED = 3_000_000_000
_APART = 1_000_000  # from the first scene of a seed to that of the next
_NAME = re.compile("(0|[1-9][0-9]{0,8})-(0|[1-9][0-9]{0,5})")


def drawn_samples(count: int, seed: int, worlds: Sequence[str] = tuple(WORLDS)) -> Iterator[tuple[Scene, Question]]:
    """`count` scenes of these worlds by turns, with one question each."""
    kinds = [itertools.cycle(KINDS) for _ in worlds]
    for number in range(count):
        turn = number % len(worlds)
        scene = WORLDS[worlds[turn]](_scene_seed(seed, number))
        yield scene, _first_asked(kinds[turn], scene, seed, number)


def find_drawn(name: str, picture: str, question: str, answer: str) -> Scene | None:
    """The scene that a line of `write_samples` is about, by all that the line says; None where it is none of them.

    name: its id, "30-17"; picture: the file of its picture, in whatever folder. The worlds take turns, as they do where
    nothing else is asked for.
    """
    found = _NAME.fullmatch(name)
    seed, number = map(int, found.groups()) if found else (0, 0)
    if found is None or picture.rpartition("/")[2] != picture_file(number):
        return None
    scene = list(WORLDS.values())[number % len(WORLDS)](_scene_seed(seed, number))
    for first in range(len(KINDS)):  # whose turn it was depends on the scenes before
        asked = _first_asked(itertools.islice(itertools.cycle(KINDS), first, None), scene, seed, number)
        if (asked.text, asked.answer) == (question, answer):
            return scene
    return None


def _scene_seed(seed: int, number: int) -> int:
    return FIRST_SEED + seed * _APART + number


def _first_asked(kinds: Iterator[str], scene: Scene, seed: int, number: int) -> Question:
    """The question of the first of these kinds that the scene can be asked."""
    rng = random.Random(f"sample-{seed}-{number}")
    question = None
    while question is None:  # a scene without a sign cannot be asked for its number: the next kind takes its place
        question = ask(next(kinds), scene, rng)
    return question


def picture_file(number: int) -> str:
    """What the picture of a sample is called."""
    return f"scene-{number:05d}.png"


def write_samples(folder: Path, count: int, seed: int, worlds: Sequence[str] = tuple(WORLDS)) -> Path:
    """Write the pictures (PNG) and `samples.jsonl` into `folder`; returns the samples file."""
    drawn = drawn_samples(count, seed, worlds)
    return write_items(folder, str(seed), ((q.kind, scene.draw(), q.text, q.answer) for scene, q in drawn))


def write_items(folder: Path, name: str, items: Iterable[Item]) -> Path:
    """Write items as pictures and `samples.jsonl` into `folder`, with ids that begin with `name`; returns the file.

    One picture after another that is the same object is written once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines, file, last = [], "", None
    for number, (kind, picture, text, answer) in enumerate(items):
        if picture is not last:
            last, file = picture, picture_file(number)
            picture.save(folder / file)
        entry = {"id": f"{name}-{number}", "image": file, "question": text, "answer": answer, "kind": kind}
        lines.append(json.dumps(entry) + "\n")
    path = folder / "samples.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures and samples.jsonl")
    parser.add_argument("--count", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=tuple(WORLDS), help="kinds of scene, by turns")
    args = parser.parse_args(argv)
    print(write_samples(args.out, args.count, args.seed, args.worlds))


if __name__ == "__main__":
    main()
