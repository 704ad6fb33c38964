"""What the answers to each task cost on average."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from fitprune_core.checks.units import flops
from fitprune_core.lmms_eval_plugin.answering import Reply


@dataclass
class TaskSums:
    """Sums over the answers to one task; FLOPs and reductions over those with a picture alone."""

    answers: int = 0
    with_picture: int = 0
    reduction: float = 0.0
    visual_flops: int = 0
    total_flops: int = 0
    new_tokens: int = 0
    seconds: float = 0.0

    def add(self, reply: Reply) -> None:
        """Count one answer."""
        self.answers += 1
        self.new_tokens += reply.new_tokens
        self.seconds += reply.seconds
        if reply.cost.achieved_reduction is not None:
            self.with_picture += 1
            self.reduction += reply.cost.achieved_reduction
            self.visual_flops += reply.cost.visual
            self.total_flops += reply.cost.request.total

    def merge(self, other: TaskSums) -> None:
        """Add what another process counted."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def means(self) -> dict[str, float]:
        """Mean share of visual compute saved, and mean GFLOPs (1e9, 2 per multiply-add) of an answer with a picture."""
        if not self.with_picture:
            return {}
        return {
            "visual_reduction": self.reduction / self.with_picture,
            "visual_gflops": self.visual_flops / self.with_picture / 1e9,
            "total_gflops": self.total_flops / self.with_picture / 1e9,
        }

    def describe(self) -> str:
        """The sums in words."""
        words = [f"{self.answers} answers"]
        if means := self.means():
            words.append(
                f"{means['visual_reduction']:.2%} of visual FLOPs saved, "
                f"{flops(means['visual_gflops'])} visual and {flops(means['total_gflops'])} total FLOPs on average"
            )
        if self.answers > self.with_picture:
            words.append(f"{self.answers - self.with_picture} without a picture, which no average counts")
        return "; ".join(words)


@dataclass
class Summary:
    """The sums of every task, by its name."""

    tasks: dict[str, TaskSums] = field(default_factory=dict)

    def add(self, task: str, reply: Reply) -> None:
        """Count one answer to a task."""
        self.tasks.setdefault(task, TaskSums()).add(reply)

    @classmethod
    def of_all(cls, summaries: Iterable[Summary]) -> Summary:
        """One summary of what several processes counted."""
        whole = cls()
        for summary in summaries:
            for task, sums in summary.tasks.items():
                whole.tasks.setdefault(task, TaskSums()).merge(sums)
        return whole

    def lines(self) -> list[str]:
        """A sentence for each task."""
        return [f"{task}: {sums.describe()}" for task, sums in self.tasks.items()]

    def metrics(self) -> dict[str, Any]:
        """Arguments of lmms-eval's `log_metrics`, whose figures stand under "throughput" in the results."""
        seconds = sum(sums.seconds for sums in self.tasks.values())
        tokens = sum(sums.new_tokens for sums in self.tasks.values())
        figures = {f"{name}_{task}": mean for task, sums in self.tasks.items() for name, mean in sums.means().items()}
        return {
            "total_elapsed_time": seconds,
            "total_gen_tokens": tokens,
            "avg_speed": tokens / seconds if seconds else 0.0,
            "additional_metrics": {
                "total_requests": sum(sums.answers for sums in self.tasks.values()),
                **figures,
            },
        }
