"""A mapping that does not grow in memory: what a run must remember of every sample, of however many there are."""

from __future__ import annotations

import sqlite3


class DiskMap:
    """From texts to texts or numbers, in a temporary file that is gone with the mapping.

    SQLite holds some megabytes of it at most; a small mapping never reaches the disk.
    """

    def __init__(self) -> None:
        # The name "" stands for a temporary file; nothing of it has to survive, so nothing is journalled.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE entries (key TEXT PRIMARY KEY, value) WITHOUT ROWID")

    def __setitem__(self, key: str, value: str | int) -> None:
        self._database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", (key, value))

    def get(self, key: str) -> str | int | None:
        """The value of a key, None where there is none."""
        row = self._database.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        return row and row[0]

    def __contains__(self, key: str) -> bool:
        return self._database.execute("SELECT 1 FROM entries WHERE key = ?", (key,)).fetchone() is not None

    def __len__(self) -> int:
        return self._database.execute("SELECT count(*) FROM entries").fetchone()[0]
