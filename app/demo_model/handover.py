"""A run in one small file, so that another machine can go on with it: `python -m app.demo_model.handover RUN FILE`.

The weights of both stages in float16 and the number of steps done, as safetensors, below the 10 MiB that a Space's git
takes. What is left out is the optimizers' momentum, which a few steps bring back.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from app.demo_model.checkpoints import write_states

_STAGES = ("vision", "language")


def hand_over(run: Path, file: Path) -> dict[str, int]:
    """Write a run's weights into `file`; returns the steps done of each stage."""
    saved = {stage: torch.load(run / f"{stage}.pt", map_location="cpu", weights_only=True) for stage in _STAGES}
    modules = saved["language"]["modules"]
    tensors = {
        f"{name}.{key}": value.half().contiguous() for name, state in modules.items() for key, value in state.items()
    }
    steps = {stage: state["step"] for stage, state in saved.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file, metadata={stage: str(step) for stage, step in steps.items()})
    return steps


def take_over(file: Path, run: Path) -> None:
    """Write the checkpoints of a run that begins where the one in `file` stood."""
    modules: dict[str, dict[str, torch.Tensor]] = {}
    with safe_open(file, "pt") as stored:
        steps = {stage: int(step) for stage, step in stored.metadata().items()}
        for key in stored.keys():  # noqa: SIM118 (it is no dict)
            name, _, rest = key.partition(".")
            modules.setdefault(name, {})[rest] = stored.get_tensor(key).float()
    prefix = "vision_tower."
    tower = {key.removeprefix(prefix): value for key, value in modules["model"].items() if key.startswith(prefix)}
    write_states(run / "vision.pt", {"tower": tower, "heads": modules["heads"]}, [], steps["vision"])
    write_states(run / "language.pt", modules, [], steps["language"])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("file", type=Path, help="what to write (.safetensors)")
    args = parser.parse_args(argv)
    steps = hand_over(args.run, args.file)
    told = ", ".join(f"{number} steps of {stage}" for stage, number in steps.items())
    print(f"{args.file}: {told}, {args.file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
