"""A way through a samples file of any size: this process's share in batches, bad samples left out, progress."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from fitprune_core.run.asked import LONGEST_OF_DATA, as_asked
from fitprune_core.run.batch import BatchSize, in_batches, kind_of
from fitprune_core.run.pictures import open_picture
from fitprune_core.run.pixels import MAX_PIXELS
from fitprune_core.samples.files import Sample, SamplesFile, read_samples
from fitprune_core.samples.journal import Journal, Mismatch, digest_of
from fitprune_core.samples.processes import Processes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A sample that is ready to be worked on: with the digest of its picture and question, and its prompt (CPU)."""

    sample: Sample
    digest: str
    inputs: BatchFeature


@dataclass
class Walk:
    """One way through a samples file.

    Attributes:
        model, processor: what samples are made ready for.
        samples: the file, which was checked, and `total`, the number of its samples.
        journal: what was done before.
        ways: what is to be done for each sample, as the journal names it.
        batch_size: how many go at once.
        processes: those that share the samples.
        new_tokens: the longest answer, for which a prompt must leave room; 0 where nothing is generated.
        progress: called after every sample that there was something to do for, and after the last, with samples done
            and samples in all, of this process's share.
        should_stop: asked before every batch; what comes after a yes is left for another run.
        reason: why the first sample that was left out was left out, or nothing.
        is_stopped: whether `should_stop` left samples for another run.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    samples: SamplesFile
    total: int
    journal: Journal
    ways: Sequence[str]
    batch_size: BatchSize
    processes: Processes
    new_tokens: int = 0
    progress: Callable[[int, int], None] | None = None
    should_stop: Callable[[], bool] = lambda: False
    reason: str = ""
    is_stopped: bool = False
    _done: int = 0

    def go(self, work: Callable[[Sequence[Task]], None]) -> None:
        """Do `work` for this process's share, in batches of prompts of one kind (`batch.kind_of`).

        work: puts what it does into the journal, and passes over what is there already: a batch that failed comes
        again, in smaller ones. A sample for which it raises ValueError, or for which memory does not suffice alone, is
        reported as a warning that names file, line and value, and left out. Raises `Mismatch` for a sample that the
        journal knows with another picture or question.
        """
        for batch in in_batches(self._tasks(), self._size):
            if self.should_stop():
                self.is_stopped = True
                return
            self._try(work, batch)
            for _ in batch:
                self._count(worked=True)

    def _tasks(self) -> Iterator[tuple[Hashable, Task]]:
        share = self.processes.share(self.total)
        for index, sample in enumerate(read_samples(self.samples)):
            if index not in share:
                continue
            try:
                task = self._task(sample)
            except Mismatch:
                raise
            except (ValueError, MemoryError) as error:
                self._leave_out(sample, error)
                self._count(worked=True)
                continue
            if task is None:
                self._count(worked=False)
            else:
                yield kind_of(task.inputs, self.model.config), task

    def _task(self, sample: Sample) -> Task | None:
        if all((sample.id, way) in self.journal for way in self.ways):
            # A picture that is gone by now changes nothing that was done.
            if sample.image.is_file():
                self.journal.check_sample(sample.id, digest_of(sample))
            return None
        most = {"max_new_tokens": self.new_tokens, "max_pixels": self.samples.max_pixels}
        inputs = prompt_of(self.model, self.processor, sample, **most)
        digest = digest_of(sample)
        self.journal.check_sample(sample.id, digest)
        return Task(sample, digest, inputs)

    def _size(self, task: Task) -> int:
        return self.batch_size.of(self.model, task.inputs, self.new_tokens)

    def _try(self, work: Callable[[Sequence[Task]], None], tasks: Sequence[Task]) -> None:
        try:
            self.batch_size.work_in_parts(work, tasks, self.model.device, lambda task: f"sample {task.sample.id}")
        except Mismatch:
            raise
        except (ValueError, MemoryError) as error:
            if len(tasks) == 1:
                self._leave_out(tasks[0].sample, error)
                return
            # One of them is to blame; the others are answered without it.
            for task in tasks:
                self._try(work, [task])

    def _leave_out(self, sample: Sample, error: Exception) -> None:
        logger.warning("left out sample %s (%s): %s", sample.id, sample.place, error)
        self.reason = self.reason or f"{sample.place}: {error}"

    def _count(self, worked: bool) -> None:
        self._done += 1
        share = len(self.processes.share(self.total))
        if self.progress is not None and (worked or self._done == share):
            self.progress(self._done, share)


def prompt_of(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    sample: Sample,
    *,
    max_new_tokens: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> BatchFeature:
    """A sample's picture and question as the model's inputs, on the CPU.

    Raises ValueError for a picture that does not open or has more pixels, a question that cannot be asked, and a prompt
    that is too long for the model together with an answer of `max_new_tokens`.
    """
    picture, limits = (
        open_picture(sample.image, max_pixels),
        {"longest": LONGEST_OF_DATA, "max_new_tokens": max_new_tokens},
    )
    return as_asked(model, processor, picture, sample.question, **limits).inputs
