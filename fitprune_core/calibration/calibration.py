"""Statistics over a samples file of any size: streamed to disk, resumable, shared among processes."""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.calibration.observations import Observations, remove_records
from fitprune_core.calibration.observe import observe, provenance_of
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.models.decoder import check_decoder
from fitprune_core.models.loading import model_name
from fitprune_core.recipes.statistics import Rows, write_statistics
from fitprune_core.samples.files import Sample, SamplesFile, check_samples
from fitprune_core.samples.loop import prompt_of, work_through
from fitprune_core.samples.processes import Processes, part_path, part_paths, sole_run

# Numbers of every weight that tell one training of a model from another.
_NUMBERS_PER_WEIGHT = 16


@dataclass(frozen=True)
class Calibration:
    """What was calibrated: samples in the statistics, samples left out, and the least and the most visual tokens."""

    num_samples: int
    left_out: int
    fewest_tokens: int
    most_tokens: int


def calibrate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    samples: str | os.PathLike | SamplesFile,
    out: str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
    processes: Processes | None = None,
) -> Calibration:
    """Collect the statistics of a model over a samples file, into a file as `AttentionStatistics.save` writes it.

    Args:
        samples: a samples file, see `samples.files`. It is checked as a whole before the first sample.
        out: the .npz file. What is done so far is kept beside it, in a file for each process; a run that was stopped,
            at whatever point, goes on from there, with as many processes as it then has.
        images: the folder that pictures are relative to, if not the samples file's own.
        progress: as for `over_samples.work_through`.
        processes: those that share the work, if not this one alone; see `distributed.started_processes`.

    Pictures and attention are held for one sample at a time, whatever the number of samples; of the others a process
    remembers some bytes. A sample that cannot be used is reported as a warning and left out; while the file
    is not written yet, the next run tries it anew. The outcome is that of `collect_statistics` over the same samples,
    by whatever processes, and bit by bit on a CPU.

    Raises ValueError for a samples file or model that cannot be, for what was begun with another model or samples file
    or is being written by another run, and if no sample could be used.
    """
    task, processes = _Task(model, processor, SamplesFile.of(samples, images), Path(out)), processes or Processes()
    total, about = processes.agree(task.prepare)
    with sole_run(task.out, processes):
        is_done = processes.on_main(partial(_done, task.out, about, total))
        with processes.agree(partial(Observations, part_path(task.out, processes.rank), about)) as observations:

            def work(index: int, sample: Sample) -> bool:
                if not is_done[index]:
                    observations.add(index, *_observed(model, processor, sample))
                return not is_done[index]

            reason = work_through(
                task.samples, total, work, device=model.device, processes=processes, progress=progress
            )
        return processes.on_main(partial(_finish, task, about, total, reason))


def _observed(model: PreTrainedModel, processor: ProcessorMixin, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """As `observe`, for a sample. One whose attention is no numbers would spoil the statistics of all others."""
    received, shares = observe(model, prompt_of(model, processor, sample))
    if not np.isfinite(received).all():
        raise ValueError(f"its attention overflows in {model.dtype}; another dtype may do")
    return received, shares


@dataclass(frozen=True)
class _Task:
    """What is calibrated, over which file, and where to."""

    model: PreTrainedModel
    processor: ProcessorMixin
    samples: SamplesFile
    out: Path

    @property
    def geometry(self) -> DecoderGeometry:
        return DecoderGeometry.from_config(self.model.config)

    def prepare(self) -> tuple[int, dict[str, str]]:
        """Look at what can be looked at beforehand: how many samples there are, and the conditions of the run."""
        check_decoder(self.model)
        return check_samples(self.samples), self.conditions()

    def conditions(self) -> dict[str, str]:
        """What must be the same for records to be part of one calibration, in words."""
        digest = hashlib.sha256()
        for name, weight in self.model.named_parameters():
            digest.update(name.encode())
            digest.update(weight.detach().flatten()[:_NUMBERS_PER_WEIGHT].float().cpu().numpy().tobytes())
        with self.samples.path.open("rb") as file:
            file_digest = hashlib.file_digest(file, "sha256")
        return {
            "model": model_name(self.model),
            "weights": digest.hexdigest()[:16],
            "samples file": f"{self.samples.path.name} (sha256 {file_digest.hexdigest()[:16]})",
            "geometry": str(self.geometry),
            **provenance_of(self.model, self.processor),
        }


def _done(out: Path, about: Mapping[str, str], total: int) -> np.ndarray:
    """Which samples are done: bool (total,)."""
    done = np.zeros(total, dtype=bool)
    for path in part_paths(out):
        with Observations(path, about) as observations:
            done[np.fromiter((sample for sample, _ in observations.token_counts()), dtype=np.int64)] = True
    return done


def _finish(task: _Task, about: Mapping[str, str], total: int, reason: str) -> Calibration:
    """Write the statistics of all records, in the order of the samples file, and remove the records."""
    paths = part_paths(task.out)
    with ExitStack() as stack:
        parts = [stack.enter_context(Observations(path, about)) for path in paths]
        tokens = np.array([count for _, count in _in_order(part.token_counts() for part in parts)], dtype=np.int64)
        if len(tokens):
            _write(task, parts, tokens)
    for path in paths:
        remove_records(path)
    if not len(tokens):
        raise ValueError(f"none of the {total} samples in {task.samples} can be used for statistics; {reason}")
    return Calibration(len(tokens), total - len(tokens), int(tokens.min()), int(tokens.max()))


def _write(task: _Task, parts: list[Observations], tokens: np.ndarray) -> None:
    layers, width = task.geometry.num_layers, int(tokens.max())
    arrays: dict[str, np.ndarray | Rows] = {}
    for kind, name in enumerate(("self", "cross")):
        received = _in_order(part.received(kind) for part in parts)
        padded = (np.pad(values, ((0, 0), (0, width - values.shape[1]))) for _, values in received)
        arrays[f"{name}_attention"] = Rows((len(tokens), layers, width), padded)
    for kind, name in enumerate(("self", "cross")):
        shares = (values for _, values in _in_order(part.shares(kind) for part in parts))
        arrays[f"{name}_share"] = Rows((len(tokens), layers), shares)
    provenance = {"source": task.samples.path.name, **provenance_of(task.model, task.processor)}
    write_statistics(task.out, arrays, tokens, model_name(task.model), task.geometry, provenance)


def _in_order(parts: Iterator[Iterator[tuple]]) -> Iterator[tuple]:
    """(sample, value) of all parts by sample, each of which is by sample itself."""
    return heapq.merge(*parts, key=itemgetter(0))
