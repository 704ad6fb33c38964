"""What one patch of a sign tells about its characters: `python -m app.demo_model.probe`.

A patch should know its own character and no other: else any survivor knows the sign, and it does not matter which
tokens go. Linear probes are trained on the tower's features of patches that characters cover, to tell the patch's own
character, the one beside it on the same sign, and one further away; what they get right on other scenes is printed.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

import fitprune_core as fp
from app.demo_model.architecture import GRID
from app.demo_model.crowded import crowded_scene
from app.demo_model.labels import TARGETS, character_labels
from app.demo_model.lettering import CHARACTERS
from app.demo_model.pictures_pool import normalise
from app.demo_model.scenes import Scene

OWN, BESIDE, FURTHER = "its own", "the one beside it", "one further away"
FIRST_SEED = 4_000_000_000
_NUMBER = {character: number for number, character in enumerate(CHARACTERS, start=1)}


def asked_of(scene: Scene) -> Iterator[tuple[int, str, int]]:
    """(patch, what is asked, number of the character) for every patch that a character of a sign or plate covers."""
    labels = character_labels(scene)
    for item in scene.objects:
        characters = item.characters()
        for place, (character, (x0, y0, x1, y1)) in enumerate(characters):
            row, column = int((y0 + y1) / 2 * GRID), int((x0 + x1) / 2 * GRID)
            patch = row * GRID + column
            if not item.text or labels[patch] != _NUMBER[character]:
                continue
            yield patch, OWN, _NUMBER[character]
            for step, asked in ((1, BESIDE), (2, FURTHER)):
                if place + step < len(characters):
                    yield patch, asked, _NUMBER[characters[place + step][0]]


@torch.no_grad()
def collect(tower, scenes: list[Scene]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """{what is asked: (features (patches, width), numbers of characters (patches,))}."""
    found: dict[str, list[tuple[torch.Tensor, int]]] = defaultdict(list)
    for scene in tqdm(scenes, desc="features"):
        features = tower(normalise(np.asarray(scene.draw())[None])).last_hidden_state[0, 1:]
        for patch, asked, number in asked_of(scene):
            found[asked].append((features[patch], number))
    return {
        asked: (torch.stack([row for row, _ in rows]), torch.tensor([number for _, number in rows]))
        for asked, rows in found.items()
    }


def probe(train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor]) -> tuple[float, float]:
    """(share right of a linear probe, share right of always saying the most frequent character), on `test`."""
    mean, deviation = train[0].mean(0), train[0].std(0) + 1e-6
    known, asked = ((features - mean) / deviation for features in (train[0], test[0]))
    layer = nn.Linear(known.shape[1], TARGETS["character"])
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(layer(known), train[1]) + 1e-3 * layer.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    right = (layer(asked).argmax(1) == test[1]).float().mean().item()
    return right, (test[1] == train[1].mode().values).float().mean().item()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini-llava")
    parser.add_argument("--scenes", type=int, default=800, help="crowded scenes, a quarter of them to test on")
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    model, _ = fp.load_model(args.model)
    scenes = [crowded_scene(FIRST_SEED + number) for number in range(args.scenes)]
    behind = len(scenes) // 4
    test, train = (collect(model.model.vision_tower, part) for part in (scenes[:behind], scenes[behind:]))
    print("| character | right | most frequent one | patches |\n|---|---|---|---|")
    for asked in (OWN, BESIDE, FURTHER):
        right, chance = probe(train[asked], test[asked])
        print(f"| {asked} | {right:.1%} | {chance:.1%} | {len(test[asked][1])} |")


if __name__ == "__main__":
    main()
