"""Runs of many questions in the background: one at a time, each in a folder of its own, found again by its token.

A run goes on where it stopped, also when the server was killed: its plan, questions and journal are in its folder. Two
servers may have one folder for their runs; each works on its own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from app.background.one_by_one import OneByOne
from app.background.run_folders import PLAN, RunFolders, is_token
from app.budgets import check_percent
from app.demo_model.easy_vqa import write_questions
from app.demo_model.samples import write_samples
from app.door.stored import make_room
from app.engine import Engine
from app.visitors.allowance import Asker
from app.visitors.line import check_room
from app.words import counted, duration, failure
from app.zero_gpu import is_zero_gpu
from fitprune_core.checks.files import read_json, write_whole
from fitprune_core.checks.words import shown
from fitprune_core.run.timing import Stopped
from fitprune_core.samples.bundle import unpack
from fitprune_core.samples.files import check_pictures, check_samples, read_samples

KEEP_SECONDS = 86_400
MOST_QUESTIONS = 5_000
MOST_BYTES = 512 * 2**20  # of a zip, unpacked
EVALUATE, CALIBRATE = "evaluate", "calibrate"
SCENES, EASY_VQA = "scenes", "easy-vqa"
_RESULTS = {EVALUATE: "results.csv", CALIBRATE: "statistics.npz"}

NOBODY = Asker()

# In a run's folder: one once it was ended on purpose, one once it is over.
_STOPPED = "stopped"
_OUTCOME = "outcome.json"
_ENDS = ("done", "stopped", "failed")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What a run does. samples: its samples file, relative to the run's folder; percents: the budgets.

    task: `EVALUATE`, by all methods at all budgets, or `CALIBRATE`, which makes statistics.
    """

    samples: str
    title: str
    percents: tuple[float, ...]
    methods: tuple[str, ...]
    task: str = EVALUATE


@dataclass(frozen=True)
class Pace:
    """When a run was first heard of, and how much was done then: what was done before this server takes no time."""

    when: float
    done: int

    def seconds_left(self, done: int, total: int) -> float | None:
        """By the pace since then; None as long as there is none."""
        newly = done - self.done
        return (time.monotonic() - self.when) / newly * (total - done) if newly > 0 else None


@dataclass
class Run:
    """One run. state: "waiting", "running", "done", "stopped" or "failed"; problem: why it failed, in words."""

    token: str
    folder: Path
    plan: Plan
    state: str = "stopped"
    done: int = 0
    total: int = 0
    problem: str = ""
    pace: Pace | None = None
    address: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _withdraw: Callable[[Run], None] = field(default=lambda run: None, repr=False, compare=False)

    @property
    def results(self) -> Path:
        """The table of answers, or the statistics; it is there once a run has ended with something."""
        return self.folder / _RESULTS[self.plan.task]

    @property
    def pictures(self) -> Path:
        """The folder that its pictures are relative to."""
        return (self.folder / self.plan.samples).parent

    @property
    def is_busy(self) -> bool:
        return self.state in ("waiting", "running")

    @property
    def was_stopped(self) -> bool:
        """Whether it was ended on purpose, not by the end of a server; also by a server before this."""
        return self._stop.is_set() or (self.folder / _STOPPED).is_file()

    def stop(self) -> None:
        """End it after the batch that it is at; what was answered is kept. One that waits is over at once."""
        self._stop.set()
        with contextlib.suppress(OSError):  # a folder that is gone, or a full disk: it ends all the same
            (self.folder / _STOPPED).touch()
        self._withdraw(self)

    @property
    def progress(self) -> str:
        """How far it is, in words, with the time that is left by the pace so far."""
        if self.was_stopped:
            return "Stopping after this batch."
        if self.state == "waiting":
            return "Waiting: another run has the model."
        if self.pace is None:
            return f"Beginning with {counted(self.total)}…"
        left = self.pace.seconds_left(self.done, self.total)
        about = "" if left is None else f", about {duration(left)} left"
        return f"{self.done:,} of {counted(self.total)}{about}."


class Runs:
    """All runs of a server, below one folder."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self._folders = RunFolders(folder)  # those that are being filled or are on the way are held
        self._runs: dict[str, Run] = {}
        self._beginning = threading.Lock()
        self._line = OneByOne(self._work)

    def ask(
        self,
        before: str | None,
        questions: str | None,
        count: int,
        percents: Sequence[float],
        methods: Sequence[str] = (),
        *,
        source: str = SCENES,
        seed: int | None = None,
        task: str = EVALUATE,
        asker: Asker = NOBODY,
    ) -> Run:
        """Begin a visitor's run in a new folder; the one that they had on the way, of the token `before`, ends then.

        questions: a zip of pictures and a samples file, or None for `count` questions of a source: `SCENES`, those of
        a `seed` or such as nobody has seen, or `EASY_VQA`. percents, methods, task: as in `Plan`. Raises ValueError for
        what cannot be asked, for an `asker` who asks too often, and where too many wait; it leaves nothing behind.
        """
        _check_lent(task)
        self.engine.line.allowance.take(asker.visitor, asker.address)
        old = self.find(before)
        if not percents or (task == EVALUATE and not methods):
            raise ValueError("Choose at least one method and one budget.")
        busy = [run for run in list(self._runs.values()) if run.is_busy and run is not old]
        from_there = sum(run.address == asker.address != "" for run in busy)
        check_room(len(busy), from_there, self.engine.limits, "runs")
        token = ""
        try:
            token, folder = self.new_folder()
            self._make_room()
            budgets = tuple(float(check_percent(percent)) for percent in percents)
            if questions is not None:
                samples, title = unpack(questions, folder / "set", MOST_BYTES), Path(questions).name
            else:
                samples, title = _write(source, folder / source, count, token, seed)
            self._make_room()
            plan = Plan(str(samples.relative_to(folder)), title, budgets, tuple(methods), task)
            run = self.begin(token, plan, asker.address)
        except BaseException as error:
            if token:
                self._folders.release(token)
                self.remove(token)
            if isinstance(error, OSError):  # a disk that is full, or may not be written
                reason = error.strerror or type(error).__name__
                raise ValueError(f"the server cannot keep a run now: {reason}") from error
            raise
        if old is not None:
            old.stop()
        return run

    def new_folder(self) -> tuple[str, Path]:
        """The token and the folder of a run to come, without questions; what is too old is removed. Raises OSError."""
        self._forget_old()
        token = self._folders.make()
        return token, self._folders.of(token)

    def begin(self, token: str, plan: Plan, address: str = "") -> Run:
        """Begin a run in its folder, or return it where it is on the way already.

        Raises ValueError for questions that cannot be asked, naming what is wrong, and OSError.
        """
        _check_lent(plan.task)
        with self._beginning:
            run = self._runs.get(token)
            if run is not None and run.is_busy:
                return run
            if not self._folders.holds(token) and not self._folders.hold(token):
                raise ValueError("this run cannot go on here: another server has it, or its folder is gone")
            try:
                return self._begin(token, plan, address)
            except BaseException:
                self._folders.release(token)
                raise

    def _begin(self, token: str, plan: Plan, address: str) -> Run:
        folder = self._folders.of(token)
        samples = folder / plan.samples
        total = check_samples(samples, warns=False)
        if total > MOST_QUESTIONS:
            raise ValueError(f"there are {total:,} questions; a run here asks up to {MOST_QUESTIONS:,}")
        _check_inside(samples, folder)
        check_pictures(samples)
        write_whole(folder / PLAN, json.dumps(asdict(plan)))
        (folder / _OUTCOME).unlink(missing_ok=True)  # of how it ended before it goes on
        run = Run(token, folder, plan, "waiting", total=total, address=address, _withdraw=self._withdraw)
        self._line.add(run)
        self._runs[token] = run
        return run

    def find(self, token: str | None) -> Run | None:
        """The run of a token, also one of a server before this; None for a token that is not known.

        A run whose plan cannot be read is not known either.
        """
        if not is_token(token):
            return None
        folder = self._folders.of(token)
        if token not in self._runs and os.path.isfile(folder / PLAN):  # False, too, for a folder of somebody else's
            try:
                plan = _read_plan(folder / PLAN)
            except (ValueError, KeyError, TypeError, OSError):
                logger.warning("the plan of a run is damaged")
                return None
            state, problem = _read_outcome(folder / _OUTCOME)
            self._runs.setdefault(token, Run(token, folder, plan, state, problem=problem))
        return self._runs.get(token)

    def go_on(self, token: str | None) -> Run | None:
        """The run of a token, as `find` has it; one that the end of a server cut short goes on. Raises as `begin`."""
        run = self.find(token)
        if run is None or run.is_busy or run.was_stopped or run.state == "failed" or run.results.is_file():
            return run
        return self.begin(run.token, run.plan)

    def remove(self, token: str) -> bool:
        """Remove a run that is over, with all that it holds. Returns whether it was one; of other servers, too."""
        is_gone = self._folders.remove(token)
        if is_gone:
            self._runs.pop(token, None)
        return is_gone

    def _withdraw(self, run: Run) -> None:
        """End a run that was stopped, if it waits; one that is on the way looks for itself."""
        if self._line.withdraw(run):
            self._folders.release(run.token)
            run.state = "stopped"

    def _work(self, run: Run) -> None:
        run.state = "running"
        state, run.problem = self._outcome(run)
        with contextlib.suppress(OSError):  # a folder that is gone, or a full disk: this server knows how it ended
            write_whole(run.folder / _OUTCOME, json.dumps({"state": state, "problem": run.problem}))
        self._folders.release(run.token)  # before it is over: then it may be begun again
        run.state = state

    def _outcome(self, run: Run) -> tuple[str, str]:
        """Do what a run is to do; how it ended, see `Run`, and why it failed."""

        def progress(done: int, total: int) -> None:
            run.done, run.total = done, total
            run.pace = run.pace or Pace(time.monotonic(), done)

        try:
            self._do(run, progress)
        except Stopped:
            return "stopped", ""
        except OSError as error:  # such as a disk that is full: their questions are not at fault, nor is the model
            logger.error("a run failed: %s", error)
            return "failed", error.strerror or str(error).replace(f"{run.folder}{os.sep}", "")
        except Exception as error:
            return "failed", failure(error, "a run")
        return ("stopped" if run._stop.is_set() and run.done < run.total else "done"), ""

    def _do(self, run: Run, progress: Callable[[int, int], None]) -> None:
        plan, samples, stop = run.plan, run.folder / run.plan.samples, run._stop.is_set
        if plan.task == CALIBRATE:
            self.engine.calibrate(samples, run.results, progress=progress, should_stop=stop)
        else:
            self.engine.evaluate(samples, plan.percents, plan.methods, run.results, progress=progress, should_stop=stop)

    def _forget_old(self) -> None:
        oldest = time.time() - KEEP_SECONDS
        for folder in self._folders.all():
            with contextlib.suppress(FileNotFoundError):  # another request removed it
                if folder.stat().st_mtime < oldest:
                    self.remove(folder.name)

    def _make_room(self) -> None:
        """Remove the oldest runs where all take more than may be on the disk, but none that is on the way.

        Raises ValueError, in words, where those alone are too much.
        """
        limits = self.engine.limits

        def remove(folder: Path) -> bool:
            return self.remove(folder.name)

        left = make_room(self._folders.all(), limits.stored_bytes, lambda folder: False, remove=remove)
        for token in [token for token in list(self._runs) if not (self.folder / token).is_dir()]:
            self._runs.pop(token, None)
        if left > limits.stored_bytes:
            most = f"{limits.max_stored_mb:,} MB, as many as they may"
            raise ValueError(f"Runs that are on the way take {most}. Try again when one of them is over.")


def _check_inside(samples: Path, folder: Path) -> None:
    """Raise ValueError for a picture outside of a run's folder, there or not: it did not come from the visitor."""
    inside = folder.resolve()
    for sample in read_samples(samples):
        if not sample.image.resolve().is_relative_to(inside):
            raise ValueError(f"{sample.place}: image must be the path of a picture that came with the questions")


def _check_lent(task: str) -> None:
    """Raise ValueError where a GPU is lent to one request at a time: a run in the background has none."""
    if is_zero_gpu():
        elsewhere = f"`python -m fitprune_core {task}` does it on a machine of your own"
        raise ValueError(f"This Space borrows a GPU for single requests, none for a run of minutes: {elsewhere}")


def _write(source: str, folder: Path, count: int, token: str, seed: int | None) -> tuple[Path, str]:
    """The samples file of `count` questions of a source, written into a folder, and what they are called.

    Raises ValueError for a source that is not there.
    """
    if source == EASY_VQA:
        return write_questions(folder, count), f"{count:,} questions of easy-VQA"
    if source != SCENES:
        raise ValueError(f"Questions come from {SCENES} or {EASY_VQA}, not from {shown(source)}.")
    if seed is None:
        return write_samples(folder, count, _seed_of(token)), f"{count:,} new scenes"
    return write_samples(folder, count, seed), f"{count:,} scenes"


def _seed_of(token: str) -> int:
    """Scenes that nobody has seen, and the same when a run goes on."""
    return int.from_bytes(token.encode()[:3], "big")


def _read_plan(path: Path) -> Plan:
    entries = read_json(path, "the plan of a run")
    return Plan(
        entries["samples"], entries["title"], tuple(entries["percents"]), tuple(entries["methods"]), entries["task"]
    )


def _read_outcome(path: Path) -> tuple[str, str]:
    """How a run ended, see `Run`, and why it failed; "stopped" for one whose end nobody wrote down."""
    if not path.is_file():
        return "stopped", ""
    try:
        entries = read_json(path, "the outcome of a run")
        state, problem = str(entries["state"]), str(entries["problem"])
    except (ValueError, KeyError, TypeError, OSError):
        logger.warning("the outcome of a run is damaged")
        return "stopped", ""
    return (state, problem) if state in _ENDS else ("stopped", "")
