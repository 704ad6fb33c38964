"""What was done for which sample, and under which conditions: a file beside an output that survives a kill.

An SQLite database: a record is there as a whole or not at all, whenever the process dies; none can be there twice; and
however many there are, they are on the disk and not in memory. Tables for people are exports of it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from fitprune_core.checks.files import place_of
from fitprune_core.checks.words import cut, named
from fitprune_core.samples.files import Sample
from fitprune_core.samples.processes import Processes, part_path, part_paths

_APPLICATION, _VERSION = 0x46505253, 1  # "FPRS", and the layout of the tables below
_SCHEMA = (
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE samples (sample TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE records (number INTEGER PRIMARY KEY, sample TEXT NOT NULL, way TEXT NOT NULL, notes TEXT NOT NULL, "
    "data BLOB NOT NULL, UNIQUE (sample, way))",
)
_SELECT = "SELECT sample, digest, way, notes, data FROM records JOIN samples USING (sample)"
# Another process may be reading for a moment; one that writes holds the file for good.
_PATIENCE_SECONDS = 1


class Mismatch(ValueError):
    """What a journal holds was made of something else than what is there now."""


@dataclass(frozen=True)
class Record:
    """What was done for a sample in one way: `notes` as JSON has them, and `data` for what is large.

    digest: of the sample's picture and question, see `digest_of`.
    """

    sample: str
    digest: str
    way: str
    notes: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = b""


class Journal:
    """The records of one file, by sample and way.

    A file that is begun remembers `conditions`, name to value: all that decides what is recorded. One that is there
    must have been begun under the same; names that it does not know yet are added. before: records that are looked up
    as well, but not written to.

    Raises `Mismatch` for other conditions, naming what differs; ValueError for a file that is no journal; OSError for
    what the disk refuses, and where another run is writing.
    """

    def __init__(
        self, path: Path, conditions: Mapping[str, str], *, writes: bool = True, before: Journal | None = None
    ) -> None:
        self.path, self.before = path, before
        with self._explained():
            if writes:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._database = sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE_SECONDS)
                # Two runs that write to one file would do every sample twice: the second is turned away.
                self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            else:
                address = f"{path.absolute().as_uri()}?mode=ro"
                self._database = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_PATIENCE_SECONDS)
        try:
            with self._explained():
                self._begin(conditions, writes)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
        if self.before is not None:
            self.before.close()

    def add(self, records: Sequence[Record]) -> None:
        """Keep what was done, on the disk at once, all of it or nothing."""
        with self._explained(), self._transaction():
            for record in records:
                about = record.sample, record.digest
                self._database.execute("INSERT OR IGNORE INTO samples VALUES (?, ?)", about)
                values = record.sample, record.way, json.dumps(dict(record.notes)), record.data
                self._database.execute("INSERT INTO records (sample, way, notes, data) VALUES (?, ?, ?, ?)", values)

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Whether there is a record of (sample, way)."""
        found = self._one("SELECT 1 FROM records WHERE sample = ? AND way = ?", *key)
        return found is not None or (self.before is not None and key in self.before)

    def notes(self, sample: str, way: str) -> dict[str, Any] | None:
        """The notes of a record, or None where there is none."""
        found = self._one("SELECT notes FROM records WHERE sample = ? AND way = ?", sample, way)
        if found is None:
            return self.before.notes(sample, way) if self.before is not None else None
        return json.loads(found[0])

    def check_sample(self, sample: str, digest: str) -> None:
        """Raise `Mismatch` if records of a sample were made of another picture or question."""
        found = self._one("SELECT digest FROM samples WHERE sample = ?", sample)
        if found is not None and found[0] != digest:
            raise Mismatch(
                f"{self.path}: what it holds of sample {cut(sample)} is of another picture or question than the one "
                "that is there now; name another file, or remove it to begin anew"
            )
        if self.before is not None:
            self.before.check_sample(sample, digest)

    def in_order(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample | None, Record]]:
        """All records with their samples, by `samples`, then, with None, those of samples that are not among them.

        Of one sample they come as they were added.
        """
        of_one = f"{_SELECT} WHERE sample = ? ORDER BY number"
        rest = f"{_SELECT} WHERE sample NOT IN (SELECT sample FROM temp.seen) ORDER BY number"
        with self._explained():
            self._database.execute("DROP TABLE IF EXISTS temp.seen")
            self._database.execute("CREATE TEMP TABLE seen (sample TEXT PRIMARY KEY) WITHOUT ROWID")
            for sample in samples:
                self._database.execute("INSERT OR IGNORE INTO temp.seen VALUES (?)", (sample.id,))
                for row in self._database.execute(of_one, (sample.id,)):
                    yield sample, _record(row)
            for row in self._database.execute(rest):
                yield None, _record(row)

    def __len__(self) -> int:
        """How many records there are."""
        return self._database.execute("SELECT count(*) FROM records").fetchone()[0]

    def absorb(self, path: Path) -> None:
        """Take over what another journal, of the same conditions, holds and this one does not."""
        with self._explained():
            self._database.execute("ATTACH DATABASE ? AS other", (str(path),))
            try:
                with self._transaction():
                    self._database.execute("INSERT OR IGNORE INTO samples SELECT * FROM other.samples")
                    self._database.execute(
                        "INSERT OR IGNORE INTO records (sample, way, notes, data) "
                        "SELECT sample, way, notes, data FROM other.records ORDER BY number"
                    )
            finally:
                self._database.execute("DETACH DATABASE other")

    def _begin(self, conditions: Mapping[str, str], writes: bool) -> None:
        """Make the tables of a new file, look at those of one that is there, and note new conditions."""
        if writes and self._one("SELECT 1 FROM sqlite_master") is None:
            with self._transaction():
                for statement in _SCHEMA:
                    self._database.execute(statement)
        found = self._one("PRAGMA application_id"), self._one("PRAGMA user_version")
        if found != ((_APPLICATION,), (_VERSION,)):
            raise ValueError(f"{self.path} is no journal that this version reads; name another file, or remove it")
        for name, ours in conditions.items():
            theirs = self._one("SELECT value FROM about WHERE name = ?", name)
            if theirs is not None and theirs[0] != ours:
                raise Mismatch(
                    f"{self.path} was begun with {name} {theirs[0]}, not {ours}; go on with that, name another file, "
                    "or remove it to begin anew"
                )
        if writes:
            with self._transaction():
                self._database.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", conditions.items())

    def _one(self, query: str, *values: str) -> tuple | None:
        with self._explained():
            return self._database.execute(query, values).fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN EXCLUSIVE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            words = "another run is writing to it" if "locked" in str(error) else str(error)
            raise OSError(f"{self.path} cannot be used: {words}") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.path} is no journal of samples: {error}") from error


def journal_path(out: Path) -> Path:
    """The journal of an output, beside it; of a link, beside the file that it leads to."""
    place = place_of(out)
    return place.with_name(f"{place.name}.journal")


@contextmanager
def shared_journal(out: Path, conditions: Mapping[str, str], processes: Processes) -> Iterator[Journal]:
    """The journal of an output, for each of the processes that work on it; call it inside `processes.sole_run`.

    One process writes to it. Several look up there what was done before and write to a part each, beside it; the parts
    are put together at the end of the block, or when a run that was stopped is gone on with.
    """
    path = journal_path(out)
    processes.on_main(partial(_gather, out, conditions))

    def opened() -> Journal:
        if processes.count == 1:
            return Journal(path, conditions)
        before = Journal(path, conditions, writes=False)
        return Journal(part_path(out, processes.rank), conditions, before=before)

    with processes.agree(opened) as journal:
        yield journal
    processes.on_main(partial(_gather, out, conditions))


def remove_journal(path: Path) -> None:
    """Remove a journal that is closed, and first what a killed process may have left beside it."""
    path.with_name(path.name + "-journal").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def digest_of(sample: Sample) -> str:
    """A digest of a sample's picture file and question. Raises ValueError for a picture that cannot be read."""
    try:
        with sample.image.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise ValueError(f"{named(sample.image)} cannot be read: {error.strerror or error}") from error
    digest.update(sample.question.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _gather(out: Path, conditions: Mapping[str, str]) -> None:
    """Put the parts of several processes into the journal, and remove them. Killed on the way, it can be done again."""
    with Journal(journal_path(out), conditions) as journal:
        for part in part_paths(out):
            Journal(part, conditions).close()
            journal.absorb(part)
            remove_journal(part)


def _record(row: tuple) -> Record:
    sample, digest, way, notes, data = row
    return Record(sample, digest, way, json.loads(notes), data)
