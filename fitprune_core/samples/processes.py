"""Several processes over one samples file, started by `accelerate launch`: whose turn a sample is, and agreeing.

Processes exchange nothing but short messages, so they talk through gloo whatever device they compute on: no collective
of a GPU waits for a process whose share takes longer. Without several processes accelerate is not needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from fitprune_core.checks.files import place_of, writing_explained
from fitprune_core.checks.program import FailedElsewhere

# A process that is done waits this long for the others.
PATIENCE = timedelta(days=30)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen by one of them: number `rank` of `count`, and `local_rank` on its machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this one prints, and writes the final file."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """Which of `total` samples are this process's: every `count`-th, by index."""
        return range(self.rank, total, self.count)

    def device(self, asked: str) -> str:
        """The device to load a model on: every process of a machine takes a GPU of its own; see `device_of_process`."""
        from fitprune_core.models.devices import device_of_process  # brings torch, which reading samples does not need

        return device_of_process(asked, self.count, self.local_rank)

    def agree(self, work: Callable[[], Result]) -> Result:
        """Do `work` in every process, wait for all of them, and go on only if all could.

        Where it fails (ValueError, OSError or MemoryError), the first process that failed raises its error and the
        others raise FailedElsewhere: one process complains, and none waits for one that is gone.
        """
        if self.count == 1:
            return work()
        result: Result
        error: Exception | None = None
        try:
            result = work()
        except (ValueError, OSError, MemoryError) as failure:
            error = failure
        failed = [rank for rank, fails in enumerate(self._gathered(error is not None)) if fails]
        if error is not None and failed[0] == self.rank:
            raise error
        if failed:
            raise FailedElsewhere(f"process {failed[0]} cannot go on") from error
        return result

    def on_main(self, work: Callable[[], Result]) -> Result:
        """Do `work` in the main process when all have come this far, and return its result in every one."""
        self.agree(lambda: None)
        if self.count == 1:
            return work()
        result = self.agree(lambda: work() if self.is_main else None)
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([result])[0]

    def any_says(self, mine: bool) -> bool:
        """Whether something is so in one of the processes at least: the same in all, which wait for each other."""
        return any(self._gathered(mine))

    def _gathered(self, mine: bool) -> list[bool]:
        """What each process says, by rank."""
        if self.count == 1:
            return [mine]
        from accelerate.utils import gather_object

        return gather_object([mine])


@contextmanager
def started_processes() -> Iterator[Processes]:
    """The processes that a launcher has started, of which this is one; without a launcher it is the only one.

    Inside the block they can agree. Raises ValueError where there are several and accelerate is not installed.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count == "1":
        yield Processes()
        return
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise ValueError(
            f"WORLD_SIZE is {count}, but several processes need accelerate: pip install accelerate"
        ) from error
    state = PartialState(cpu=True, backend="gloo", timeout=PATIENCE)
    try:
        yield Processes(state.process_index, state.num_processes, state.local_process_index)
    finally:
        # Left to the end of the interpreter, gloo's threads now and then bring it down.
        state.destroy_process_group()


@contextmanager
def sole_run(out: Path, processes: Processes) -> Iterator[None]:
    """Hold an output for the run of these processes, until the block ends or the main one dies.

    The processes of a launcher that was killed may live on, and would write to the same files as the run that goes on
    with their work. Raises ValueError where another run holds it, by whatever name; OSError where nothing can be
    written. Folders are made as needed.
    """
    place = place_of(out)
    lock = FileLock(place.with_name(place.name + ".lock"), blocking=False)

    def hold() -> None:
        with writing_explained(out):
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as error:
                raise ValueError(f"another run is writing to {out}; wait for it, or name another file") from error

    processes.on_main(hold)
    try:
        yield
    finally:
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def part_path(out: Path, rank: int) -> Path:
    """The file beside `out` in which one process keeps what it has done so far."""
    place = place_of(out)
    return place.with_name(f"{place.name}.partial-{rank}")


def part_paths(out: Path) -> list[Path]:
    """The files of that kind that are there, of this run or of one that was stopped, by their rank."""
    place = place_of(out)
    pattern = re.compile(re.escape(place.name) + r"\.partial-(\d+)")
    entries = place.parent.iterdir() if place.parent.is_dir() else ()
    ranks = sorted(int(match[1]) for path in entries if (match := pattern.fullmatch(path.name)))
    return [part_path(out, rank) for rank in ranks]
