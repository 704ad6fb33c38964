"""Several processes over one samples file: the same outcome as one, and one voice."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fitprune_core import AttentionStatistics
from fitprune_core.cli.main import main
from fitprune_core.samples.processes import Processes, part_path, part_paths, started_processes
from tests.tiny import random_picture, save_tiny_llava

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = (
    *("accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "fitprune_core"),
)
SIZES = [(48, 36), (24, 70), (60, 24)]


class TestProcesses:
    def test_every_sample_is_in_one_share(self):
        for count in (1, 2, 3, 7):
            shares = [Processes(rank, count).share(5) for rank in range(count)]
            assert sorted(index for share in shares for index in share) == list(range(5))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1

    def test_each_takes_a_gpu_of_its_own(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        for asked in ("auto", "cuda"):
            assert [Processes(rank, 3, rank).device(asked) for rank in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
        with pytest.raises(ValueError, match="'cuda:1' for 3 processes, which would share it"):
            Processes(1, 3, 1).device("cuda:1")
        assert Processes().device("cuda:1") == "cuda:1"
        assert Processes(1, 3, 1).device("cpu") == "cpu"
        assert Processes().device("auto") == "auto"

    def test_without_a_launcher_there_is_one_and_accelerate_is_not_needed(self, monkeypatch):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        monkeypatch.setitem(sys.modules, "accelerate", None)
        with started_processes() as processes:
            assert processes == Processes(0, 1, 0)
            assert processes.is_main
            assert processes.agree(lambda: 5) == processes.on_main(lambda: 5) == 5
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(ValueError, match="WORLD_SIZE is 2, but several processes need accelerate: pip install"):
            started_processes().__enter__()

    def test_parts_are_found_by_their_rank(self, tmp_path):
        out = tmp_path / "a+b.npz"
        assert part_paths(tmp_path / "none" / "a.npz") == []
        for name in ("a+b.npz.partial-10", "a+b.npz.partial-2", "a+b.npz.partial", "a+b.npz.partial-2-journal", "a+b"):
            (tmp_path / name).touch()
        assert part_paths(out) == [part_path(out, 2), part_path(out, 10)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny LLaVA-NeXT, a samples file of 40 pictures of several sizes, and its statistics."""
    folder = tmp_path_factory.mktemp("several")
    save_tiny_llava(folder / "tiny-next", family="llava_next")
    lines = [{"id": "gone", "image": "gone.png", "question": "What is gone?"}]
    for number in range(40):
        random_picture(*SIZES[number % 3], seed=number).save(folder / f"{number}.png")
        lines.append({"id": str(number), "image": f"{number}.png", "question": f"What is {number}?", "answer": "a key"})
    (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "few.jsonl").write_text("\n".join(map(json.dumps, lines[:6])))
    return folder


@pytest.fixture(scope="module")
def one_process(place):
    """The statistics that one process collects, by one thread as the others."""
    out = place / "recipes" / "tiny-next" / "statistics.npz"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(calibrate(place, out)) == 0
    finally:
        torch.set_num_threads(threads)
    return out


def calibrate(place, out, samples="samples.jsonl"):
    return ["calibrate", "--model", str(place / "tiny-next"), "--samples", str(place / samples), "--out", str(out)]


def launch(arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", *LAUNCH, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )


@pytest.mark.slow
class TestTwoProcesses:
    @pytest.fixture(autouse=True)
    def _accelerate(self):
        pytest.importorskip("accelerate")

    def test_give_the_statistics_of_one_to_the_byte(self, place, one_process, tmp_path):
        done = launch(calibrate(place, tmp_path / "two.npz"))
        printed, complaints = done.communicate()
        assert done.returncode == 0, complaints
        assert printed == f"{tmp_path / 'two.npz'}: 40 samples (1 left out), 138 to 166 visual tokens each\n"
        assert complaints.count("samples.jsonl, line 1): there is no file") == complaints.count("\n") == 1
        assert (tmp_path / "two.npz").read_bytes() == one_process.read_bytes()
        assert len(set(AttentionStatistics.load(tmp_path / "two.npz").token_counts.tolist())) == 3
        assert [path.name for path in tmp_path.iterdir()] == ["two.npz"]

    @pytest.mark.parametrize("survivors", [False, True])
    def test_killed_go_on_as_one(self, place, one_process, tmp_path, survivors):
        import psutil  # comes with accelerate

        out = tmp_path / "killed.npz"
        running = launch(calibrate(place, out))
        while running.poll() is None and sum(map(kept, part_paths(out))) < 4:
            time.sleep(0.005)
        # The launcher puts its processes into sessions of their own: without it they go on.
        launcher = psutil.Process(running.pid)
        doomed = [] if survivors else launcher.children(recursive=True)
        for process in [launcher, *doomed]:
            process.kill()
        psutil.wait_procs([launcher, *doomed])
        assert survivors or 4 <= sum(map(kept, part_paths(out))) < 40
        deadline = time.monotonic() + 60
        while main(calibrate(place, out)) != 0:
            assert survivors and time.monotonic() < deadline
            time.sleep(0.1)
        assert out.read_bytes() == one_process.read_bytes()
        assert part_paths(out) == []

    def test_give_the_answers_of_one_to_the_byte(self, place, one_process, tmp_path):
        arguments = ["evaluate", "--model", str(place / "tiny-next"), "--samples", str(place / "few.jsonl"),
                     "--recipes", str(place / "recipes"), "--reduction", "0.5", "--max-new-tokens", "2"]  # fmt: skip
        assert main([*arguments, "--out", str(tmp_path / "one.csv")]) == 0
        done = launch([*arguments, "--out", str(tmp_path / "two.csv")])
        printed, complaints = done.communicate()
        assert done.returncode == 0, complaints
        assert printed.count("original") == 2  # a row, and the head of a column
        assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
        names = [name for out in ("one.csv", "two.csv") for name in (out, f"{out}.journal")]
        assert sorted(path.name for path in tmp_path.iterdir()) == names

    def test_complain_with_one_voice(self, place, tmp_path):
        done = launch(calibrate(place, tmp_path / "none.npz", samples="none.jsonl"))
        printed, complaints = done.communicate()
        assert done.returncode != 0
        assert printed == ""
        # The launcher adds a report of its own.
        assert complaints.count("cannot read samples") == complaints.count("python -m fitprune_core: ") == 1


def kept(part: Path) -> int:
    """Samples whose records are in a part that another process writes to."""
    try:
        with sqlite3.connect(f"file:{part}?immutable=1", uri=True) as database:
            return database.execute("SELECT count(*) FROM records").fetchone()[0]
    except sqlite3.DatabaseError:
        return 0
