"""Several processes that share samples: run one after another in this one, or as threads of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from fitprune_core.samples import journal as journal_module
from fitprune_core.samples.processes import Processes


class Stopped(Exception):
    """The run was stopped here."""


@dataclass(frozen=True)
class Share(Processes):
    """One of several processes, run alone and stopped when it has done its share, before parts are put together."""

    gathered: list = field(default_factory=list)

    def agree(self, work):
        return work()

    def on_main(self, work):
        if getattr(work, "func", None) is journal_module._gather:
            self.gathered.append(work)
            if len(self.gathered) == 2:
                raise Stopped
        return work() if self.is_main else None


class Meeting:
    """What accelerate lets processes exchange, among threads that stand for them; no one waits for ever."""

    def __init__(self, monkeypatch, count: int) -> None:
        self.said: list[list] = [[] for _ in range(count)]
        self.all_here, self.own = threading.Barrier(count, timeout=30), threading.local()
        monkeypatch.setattr("accelerate.utils.gather_object", self.gather)
        monkeypatch.setattr("accelerate.utils.broadcast_object_list", lambda said: self.gather(said)[:1])

    def gather(self, said: list) -> list:
        self.said[self.own.rank] = said
        self.all_here.wait()
        found = [each for of_one in self.said for each in of_one]
        self.all_here.wait()
        return found

    def run(self, work: Callable[[Processes], object]) -> list[Future]:
        """Do `work` as every one of the processes; what came of each, by rank."""
        count = len(self.said)

        def as_rank(rank: int) -> object:
            self.own.rank = rank
            return work(Processes(rank, count))

        with ThreadPoolExecutor(count) as pool:
            return [pool.submit(as_rank, rank) for rank in range(count)]
