"""The folders of runs, below one folder that servers may share, and where other things may lie.

Whoever works in a run's folder holds a lock in it, which the system gives back however a server ends. Nothing is
removed but runs that nobody holds.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
from pathlib import Path
from typing import TypeGuard

from filelock import FileLock, Timeout

PLAN = "plan.json"
_LOCK = ".run.lock"
_TOKEN = re.compile(r"[\w-]{24}", re.ASCII)


def is_token(name: object) -> TypeGuard[str]:
    """Whether something may be the token of a run."""
    return isinstance(name, str) and _TOKEN.fullmatch(name) is not None


class RunFolders:
    """What one server does with them. Its methods may be called from any thread."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._held: dict[str, FileLock] = {}
        self._lock = threading.Lock()

    def of(self, token: str) -> Path:
        """The folder of a run, there or not."""
        return self.base / token

    def make(self) -> str:
        """Make the folder of a run to come, and hold it; returns its token, all that keeps others from the run.

        So others on this machine may not list them. Raises OSError.
        """
        token = secrets.token_urlsafe(18)
        self.base.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.of(token).mkdir(mode=0o700)
        if not self.hold(token):
            raise OSError(f"{token} cannot be locked")
        return token

    def all(self) -> list[Path]:
        """The folders of all runs, those of other servers among them. Raises OSError."""
        return [entry for entry in self.base.iterdir() if _is_run(entry)] if self.base.is_dir() else []

    def holds(self, token: str) -> bool:
        """Whether this server works in a run's folder."""
        return token in self._held

    def hold(self, token: str) -> bool:
        """Keep others out of a run's folder. Returns whether that worked: not where it is held, here or elsewhere."""
        with self._lock:
            if token in self._held or not self.of(token).is_dir():
                return False
            lock = FileLock(self.of(token) / _LOCK, thread_local=False)  # who releases it is on another thread
            try:
                lock.acquire(timeout=0)
            except (Timeout, OSError):
                return False
            self._held[token] = lock
            return True

    def release(self, token: str) -> None:
        """Let others into a run's folder again; nothing where it is not held here."""
        with self._lock:
            lock = self._held.pop(token, None)
            if lock is not None:
                lock.release()

    def remove(self, token: str) -> bool:
        """Remove a run that nobody holds, with all that is in its folder. Returns whether it was one."""
        if not self.hold(token):
            return False
        shutil.rmtree(self.of(token), ignore_errors=True)
        self.release(token)
        return True


def _is_run(entry: Path) -> bool:
    """Whether an entry is the folder of a run, begun or not: its name alone might be anything's."""
    is_folder = is_token(entry.name) and entry.is_dir() and not entry.is_symlink()
    return is_folder and any(os.path.isfile(entry / name) for name in (PLAN, _LOCK))
