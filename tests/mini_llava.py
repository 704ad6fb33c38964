"""Questions to mini-llava in numbers."""

from __future__ import annotations

import random

from app.demo_model.questions import KINDS, ask
from app.demo_model.scenes import random_scene


def every_question(seeds=range(120)):
    for seed in seeds:
        scene, rng = random_scene(seed), random.Random(seed)
        for kind in KINDS:
            for _ in range(3):
                question = ask(kind, scene, rng)
                if question is not None:
                    yield scene, question, question.text.lower().rstrip("?!. ")
