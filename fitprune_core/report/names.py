"""What pages and pictures call the ways to answer, which files and command lines call by lower case."""

from __future__ import annotations

import re

# As their papers write them; view/shared.js has the same.
NAMES = {
    "original": "Original",
    "fitprune": "FitPrune",
    "fitprune+": "FitPrune+",
    "fastv": "FastV",
    "divprune": "DivPrune",
    "pyramiddrop": "PyramidDrop",
    "visionzip-dominant": "VisionZip-dominant",
    "cross-only": "Cross-only",
    "self-only": "Self-only",
    "last-token": "Last-token",
    "random": "Random",
    "uniform": "Uniform",
}


def called(label: str) -> str:
    """What begins with a method's name, as results have it, for people: "random(seed=1) 60 %" as "Random(seed=1) 60 %".

    A method that is not known here keeps its name.
    """
    name = re.split(r"[(: ]", label, maxsplit=1)[0]
    return NAMES.get(name, name) + label[len(name) :]
