"""Statistics over a samples file of any size: streamed to disk, resumable, shared among processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.calibration.observe import observe
from fitprune_core.checks.files import path_of, remove_partials
from fitprune_core.checks.words import named, plural
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.models.decoder_check import check_decoder
from fitprune_core.models.exclusive import free_model
from fitprune_core.models.loading import model_name
from fitprune_core.models.provenance import SHORT, conditions_of, provenance_of
from fitprune_core.recipes.statistics import RowByRow, check_statistics_file, statistics_about, write_statistics
from fitprune_core.run.batch import BatchSize, padded_together
from fitprune_core.run.timing import Stopped
from fitprune_core.samples.files import SamplesFile, check_samples, read_samples
from fitprune_core.samples.journal import Journal, Record, journal_path, remove_journal, shared_journal
from fitprune_core.samples.loop import Task, Walk
from fitprune_core.samples.processes import Processes, sole_run

# What the journal calls the one thing that is done for each sample.
OBSERVED = "observed"
# What statistics are of, by the names of a run's conditions. Other versions of torch give the same but for rounding.
IDENTITY = ("model", "image_aspect", "dtype", "samples file", "weights", "processor")


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
    batch_size: int | str = 1,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes | None = None,
) -> Calibration:
    """Collect the statistics of a model over a samples file, into a file as `AttentionStatistics.save` writes it.

    Args:
        samples: a samples file, see `samples.files`. It is checked as a whole before the first sample.
        out: the .npz file. What is done so far is kept in a journal beside it (`journal.journal_path`); a run that was
            stopped, at whatever point, goes on from there, with as many processes as it then has.
        images: the folder that pictures are relative to, if not the samples file's own.
        batch_size: how many samples go through the model at once, from 1 up, or "auto"; see `batch.BatchSize`.
        progress, should_stop: as for `loop.Walk`. A run that was stopped, in any of its processes, before the last
            sample was done raises `Stopped` in all of them and writes no statistics; its journal stays for another run.
        processes: those that share the work, if not this one alone; see `processes.started_processes`.

    Pictures and attention are held for one batch at a time, whatever the number of samples; every other sample takes
    some bytes of memory. A sample that cannot be used is reported as a warning and left out; while the file is not
    written yet, the next run tries it anew. The outcome is that of `collect_statistics` over the same samples, by
    whatever processes: one at a time bit by bit on a CPU, in batches but for rounding. Its provenance says as well of
    which samples file and weights it is (`IDENTITY`): statistics of the same are made anew, others not written over.

    Raises ValueError for a samples file, model or batch size that cannot be, for an `out` that is some other file or
    statistics of something else, inside a block that prunes the model, for what was begun with another model or samples
    file or is being written by another run, and if no sample could be used.
    """
    model = free_model(model)
    task, processes, sizes = (
        _Task(model, processor, SamplesFile.of(samples, images), path_of(out, "out")),
        processes or Processes(),
        BatchSize(batch_size),
    )
    total, conditions = processes.agree(partial(task.prepare, warns=processes.is_main))
    with sole_run(task.out, processes):
        with shared_journal(task.out, conditions, processes) as journal:
            walk = Walk(
                model, processor, task.samples, total, journal, [OBSERVED], sizes, processes, 0, progress, should_stop
            )
            walk.go(partial(_observe_all, model, processor, journal))
        # Decided by all together: one that left alone would have the others wait for it.
        if processes.any_says(walk.is_stopped):
            raise Stopped(f"{task.out} was not written: the run was stopped")
        return processes.on_main(partial(_finish, task, conditions, total, walk.reason))


def _observe_all(model: PreTrainedModel, processor: ProcessorMixin, journal: Journal, tasks: Sequence[Task]) -> None:
    """Keep in the journal what the model pays attention to in samples of one kind, as far as it is not there yet.

    Raises ValueError for attention that is no numbers: it would spoil the statistics of all other samples.
    """
    missing = [task for task in tasks if (task.sample.id, OBSERVED) not in journal]
    if not missing:
        return
    found = observe(model, padded_together([task.inputs for task in missing], processor.tokenizer).to(model.device))
    records = []
    for task, (received, shares) in zip(missing, found, strict=True):
        if not np.isfinite(received).all():
            raise ValueError(f"its attention overflows in {model.dtype}; another dtype may do")
        # JSON has every float32 as it is.
        notes = {"tokens": received.shape[-1], "shares": shares.tolist()}
        records.append(Record(task.sample.id, task.digest, OBSERVED, notes, received.astype("<f4").tobytes()))
    journal.add(records)


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

    def prepare(self, *, warns: bool) -> tuple[int, dict[str, str]]:
        """Look at what can be looked at beforehand: how many samples there are, and the conditions of the run.

        warns: whether the log says which entries of the samples file are left out.
        """
        check_statistics_file(self.out, (self.samples,))
        check_decoder(self.model)
        total, conditions = check_samples(self.samples, warns=warns), self.conditions()
        if self.out.exists() and self.out.stat().st_size:
            _check_same(self.out, conditions)
        return total, conditions

    def conditions(self) -> dict[str, str]:
        """What must be the same for records to be part of one calibration, in words."""
        with self.samples.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:SHORT]
        return {
            **conditions_of(self.model, self.processor),
            "samples file": f"{self.samples.path.name} (sha256 {digest})",
            "geometry": str(self.geometry),
        }


def _check_same(out: Path, conditions: Mapping[str, str]) -> None:
    """Raise ValueError, naming what differs, for finished statistics of something else, which would be lost."""
    ways_out = "name another file, or remove it to begin anew"
    try:
        about = statistics_about(out)
    except ValueError as error:
        raise ValueError(f"{named(out)} is there and cannot be told to be statistics ({error}); {ways_out}") from error
    for name in IDENTITY:
        theirs, ours = about.get(name), conditions[name]
        if theirs is None:
            raise ValueError(
                f"{named(out)} is there, and does not say of which {name} its statistics are, as those of an older "
                f"version; {ways_out}"
            )
        if theirs != ours:
            raise ValueError(f"{named(out)} is there, with statistics of {name} {theirs}, not {ours}; {ways_out}")


def _finish(task: _Task, conditions: Mapping[str, str], total: int, reason: str) -> Calibration:
    """Write the statistics of all records, in the order of the samples file, and remove the journal."""
    path = journal_path(task.out)
    with Journal(path, conditions) as journal:
        tokens = np.array([record.notes["tokens"] for record in _records(task, journal)], dtype=np.int64)
        if len(tokens):
            _write(task, conditions, journal, tokens)
    remove_partials(task.out)
    remove_journal(path)
    if not len(tokens):
        samples = plural("sample", total)
        raise ValueError(f"none of the {total} {samples} in {task.samples} can be used for statistics; {reason}")
    return Calibration(len(tokens), total - len(tokens), int(tokens.min()), int(tokens.max()))


def _records(task: _Task, journal: Journal) -> Iterator[Record]:
    """What was observed, in the order of the samples file, one in memory at a time."""
    return (record for _, record in journal.in_order(read_samples(task.samples)))


def _write(task: _Task, conditions: Mapping[str, str], journal: Journal, tokens: np.ndarray) -> None:
    layers, width = task.geometry.num_layers, int(tokens.max())
    arrays: dict[str, np.ndarray | RowByRow] = {}
    for kind, name in enumerate(("self", "cross")):
        arrays[f"{name}_attention"] = RowByRow((len(tokens), layers, width), _received(task, journal, kind, width))
    for kind, name in enumerate(("self", "cross")):
        arrays[f"{name}_share"] = RowByRow((len(tokens), layers), _shares(task, journal, kind))
    provenance = {"source": task.samples.path.name, **provenance_of(task.model, task.processor)}
    provenance |= {name: conditions[name] for name in IDENTITY if name != "model"}  # which the file says by itself
    write_statistics(task.out, arrays, tokens, model_name(task.model), task.geometry, provenance)


def _received(task: _Task, journal: Journal, kind: int, width: int) -> Iterator[np.ndarray]:
    """The attention of one kind (0: self, 1: cross) that each sample received: float32 (layers, width), padded."""
    for record in _records(task, journal):
        values = np.frombuffer(record.data, "<f4").reshape(2, task.geometry.num_layers, -1)[kind]
        yield np.pad(values, ((0, 0), (0, width - values.shape[1])))


def _shares(task: _Task, journal: Journal, kind: int) -> Iterator[np.ndarray]:
    """The shares that the attention of one kind is part of, for each sample: float32 (layers,)."""
    return (np.array(record.notes["shares"][kind], dtype=np.float32) for record in _records(task, journal))
