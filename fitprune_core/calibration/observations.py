"""What a calibration has seen so far, kept on disk so that a run that was killed goes on where it stopped.

A file for each process, an SQLite database: a record is there as a whole or not at all, whenever the process dies, no
sample can be there twice, and records come back in the order of the samples without being held in memory.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS about (only INTEGER PRIMARY KEY CHECK (only = 0), entries TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS observed "
    "(sample INTEGER PRIMARY KEY, tokens INTEGER NOT NULL, received BLOB NOT NULL, shares BLOB NOT NULL)",
)


class Observations:
    """The records of one file. `about`: the conditions under which they are made, name to value.

    Raises ValueError for a file that holds none, or records made under other conditions, naming file and value; and
    OSError for what the disk refuses.
    """

    def __init__(self, path: Path, about: Mapping[str, str]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._database = sqlite3.connect(path, isolation_level=None, timeout=1)
            # Two runs that write to one file would do every sample twice: the second is turned away.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            for statement in _SCHEMA:
                self._database.execute(statement)
            self._database.execute("INSERT OR IGNORE INTO about VALUES (0, ?)", (json.dumps(dict(about)),))
            ((theirs,),) = self._database.execute("SELECT entries FROM about")
        self._check(json.loads(theirs), about)

    def __enter__(self) -> Observations:
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()

    def add(self, sample: int, received: np.ndarray, shares: np.ndarray) -> None:
        """Keep what `statistics.observe` found for a sample, by its index in the samples file; on the disk at once."""
        record = sample, received.shape[-1], received.astype("<f4").tobytes(), shares.astype("<f4").tobytes()
        with self._explained():
            self._database.execute("INSERT INTO observed VALUES (?, ?, ?, ?)", record)

    def token_counts(self) -> Iterator[tuple[int, int]]:
        """Sample and number of its visual tokens, by sample."""
        yield from self._select("tokens")

    def received(self, kind: int) -> Iterator[tuple[int, np.ndarray]]:
        """Sample and the attention of one kind (0: self, 1: cross), float32 (layers, visual tokens), by sample."""
        for sample, tokens, values in self._select("tokens, received"):
            yield sample, np.frombuffer(values, "<f4").reshape(2, -1, tokens)[kind]

    def shares(self, kind: int) -> Iterator[tuple[int, np.ndarray]]:
        """Sample and the shares that the attention of one kind is part of, float32 (layers,), by sample."""
        for sample, values in self._select("shares"):
            yield sample, np.frombuffer(values, "<f4").reshape(2, -1)[kind]

    def _select(self, columns: str) -> Iterator[tuple]:
        with self._explained():
            yield from self._database.execute(f"SELECT sample, {columns} FROM observed ORDER BY sample")

    def _check(self, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
        for name, value in ours.items():
            if theirs.get(name) != value:
                self._database.close()
                raise ValueError(
                    f"{self.path} was begun with {name} {theirs.get(name)}, not {value}: go on with that, "
                    "or remove the file and begin anew"
                )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            words = "another run is writing to it" if "locked" in str(error) else str(error)
            raise OSError(f"{self.path} cannot be written: {words}") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.path} holds no records of a calibration: {error}") from error


def remove_records(path: Path) -> None:
    """Remove a file of records that is closed, and first the journal that a killed process may have left beside it."""
    path.with_name(path.name + "-journal").unlink(missing_ok=True)
    path.unlink()
