"""The journal: whole records whatever happens, nothing of other conditions, everything by sample."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fitprune_core.samples.files import Sample
from fitprune_core.samples.journal import Journal, Mismatch, Record, digest_of, remove_journal

CONDITIONS = {"model": "m", "weights": "0"}


def samples(*names):
    return [Sample(name, Path("a.png"), "?", None, "") for name in names]


def test_records_come_back_by_sample_and_strangers_last(tmp_path):
    with Journal(tmp_path / "j", CONDITIONS) as journal:
        journal.add([Record("b", "d", "one", {"x": 1}), Record("a", "d", "one"), Record("z", "d", "one")])
        journal.add([Record("a", "d", "two", {"ä": [0.1, None]}, b"\0\1")])
        assert ("a", "two") in journal and ("b", "two") not in journal
        assert journal.notes("b", "one") == {"x": 1}
        assert journal.notes("b", "two") is None
    with Journal(tmp_path / "j", CONDITIONS) as journal:
        found = [(sample and sample.id, record) for sample, record in journal.in_order(samples("a", "c", "b"))]
        assert [(name, record.way) for name, record in found] == [
            ("a", "one"),
            ("a", "two"),
            ("b", "one"),
            (None, "one"),
        ]
        assert found[1][1] == Record("a", "d", "two", {"ä": [0.1, None]}, b"\0\1")
        assert len(journal) == 4


def test_a_batch_of_records_is_kept_as_a_whole_or_not_at_all(tmp_path):
    with Journal(tmp_path / "j", CONDITIONS) as journal:
        journal.add([Record("a", "d", "one")])
        with pytest.raises(ValueError):
            journal.add([Record("b", "d", "one"), Record("a", "d", "one")])
        assert len(journal) == 1
        assert ("b", "one") not in journal


def test_other_conditions_are_named_and_change_nothing(tmp_path):
    Journal(tmp_path / "j", CONDITIONS).close()
    with pytest.raises(Mismatch, match="j was begun with weights 0, not 1; go on with that, name another file, or"):
        Journal(tmp_path / "j", {"new": "n", **CONDITIONS, "weights": "1"})
    # A condition that is new is added, but not by a run that was refused.
    Journal(tmp_path / "j", {**CONDITIONS, "new": "other"}).close()
    with pytest.raises(Mismatch, match="begun with new other, not n"):
        Journal(tmp_path / "j", {**CONDITIONS, "new": "n"})


def test_samples_are_known_by_picture_and_question(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    sample = Sample("a", tmp_path / "a.png", "What?", None, "")
    digest = digest_of(sample)
    with Journal(tmp_path / "j", CONDITIONS) as journal:
        journal.add([Record("a", digest, "one")])
        journal.check_sample("a", digest_of(sample))
        journal.check_sample("b", "anything")
        (tmp_path / "a.png").write_bytes(b"pictura")
        with pytest.raises(Mismatch, match="sample a is of another picture or question"):
            journal.check_sample("a", digest_of(sample))
    with pytest.raises(ValueError, match="none.png cannot be read"):
        digest_of(Sample("a", tmp_path / "none.png", "What?", None, ""))


def test_what_was_done_before_is_looked_up_and_a_part_is_taken_over_once(tmp_path):
    with Journal(tmp_path / "j", CONDITIONS) as journal:
        journal.add([Record("a", "d", "one", {"n": 0})])
    before = Journal(tmp_path / "j", CONDITIONS, writes=False)
    with Journal(tmp_path / "part", CONDITIONS, before=before) as part:
        assert ("a", "one") in part
        assert part.notes("a", "one") == {"n": 0}
        with pytest.raises(Mismatch):
            part.check_sample("a", "e")
        part.add([Record("b", "d", "one", {"n": 1})])
    for _ in range(2):
        with Journal(tmp_path / "j", CONDITIONS) as journal:
            journal.absorb(tmp_path / "part")
            assert [record.notes["n"] for _, record in journal.in_order([])] == [0, 1]


def test_other_files_are_refused_untouched(tmp_path):
    (tmp_path / "text").write_text("some notes, a little longer than the header of a database is " * 9)
    with sqlite3.connect(tmp_path / "database") as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    for name, words in (("text", "is no journal of samples"), ("database", "is no journal that this version reads")):
        whole = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=words):
            Journal(tmp_path / name, CONDITIONS)
        assert (tmp_path / name).read_bytes() == whole


@pytest.mark.slow
def test_a_second_writer_is_turned_away(tmp_path):
    with Journal(tmp_path / "j", CONDITIONS), pytest.raises(OSError, match="j cannot be used: another run is writing"):
        Journal(tmp_path / "j", CONDITIONS)


WRITER = """
import sys
from pathlib import Path
from fitprune_core.samples.journal import Journal, Record
journal, number = Journal(Path(sys.argv[1]), {"model": "m", "weights": "0"}), 0
while True:
    with open(sys.argv[1] + ".said", "a") as said:
        journal.add([Record(str(number), "d", way, {"n": number}, bytes(5000)) for way in ("one", "two")])
        said.write(f"{number}\\n")
    number += 1
"""


def test_what_was_kept_survives_a_kill(tmp_path):
    path, said = tmp_path / "j", tmp_path / "j.said"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=Path(__file__).resolve().parents[2])
    deadline = time.monotonic() + 60
    while (not said.exists() or said.read_text().count("\n") < 20) and time.monotonic() < deadline:
        time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    told = said.read_text().splitlines()
    assert len(told) >= 20
    with Journal(path, CONDITIONS) as journal:
        records = [record for _, record in journal.in_order([])]
    assert {record.sample for record in records} >= set(told)
    # Both records of a sample are there, or neither is.
    assert len(records) == 2 * len({record.sample for record in records})
    remove_journal(path)
    assert not path.exists()
