"""Several processes that share samples, run one after another in this one."""

from __future__ import annotations

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
