"""A way through a samples file of any size: this process's share, bad samples reported and left out, progress."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial

import torch
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from fitprune_core.models.memory import with_memory_explained
from fitprune_core.run.answer import prepare
from fitprune_core.run.pictures import open_picture
from fitprune_core.run.questions import check_question
from fitprune_core.samples.files import Sample, SamplesFile, read_samples
from fitprune_core.samples.processes import Processes

logger = logging.getLogger(__name__)


def work_through(
    samples: str | os.PathLike | SamplesFile,
    total: int,
    work: Callable[[int, Sample], bool],
    *,
    device: torch.device,
    processes: Processes,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Do `work(index, sample)` for this process's share of a samples file, one sample at a time.

    Args:
        samples: a samples file that was checked, and `total`, the number of its samples.
        work: returns whether there was anything to do. A sample for which it raises ValueError, or for which memory
            does not suffice, is reported as a warning that names file, line and value, and left out.
        device: on which it works.
        progress: called after every sample that there was something to do for, and after the last, with samples done
            and samples in all, of this share.

    Returns why the first sample that was left out was left out, or nothing.
    """
    share = processes.share(total)
    reason = ""
    for index, sample in enumerate(read_samples(samples)):
        if index not in share:
            continue
        try:
            worked = with_memory_explained(partial(work, index, sample), device, f"sample {sample.id}")
        except (ValueError, MemoryError) as error:
            logger.warning("left out sample %s (%s): %s", sample.id, sample.place, error)
            reason = reason or f"{sample.place}: {error}"
            worked = True
        if progress is not None and (worked or index == share[-1]):
            progress(share.index(index) + 1, len(share))
    return reason


def prompt_of(
    model: PreTrainedModel, processor: ProcessorMixin, sample: Sample, *, max_new_tokens: int = 0
) -> BatchFeature:
    """A sample's picture and question as the model's inputs, on its device.

    Raises ValueError for a picture that does not open, a question that cannot be asked, and a prompt that is too long
    for the model together with an answer of `max_new_tokens`.
    """
    picture, question = open_picture(sample.image), check_question(sample.question)
    return prepare(model, processor, picture, question, max_new_tokens=max_new_tokens).to(model.device)
