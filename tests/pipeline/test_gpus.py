"""Every cell on GPUs of its own. There are none here: NVML is a stand-in that lists three."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.gpus import NO_LIBRARY, Card, Machine, stand_in_machine

from bench.errors import BenchError
from bench.nvml import VARIABLE, cells_on_gpu
from bench.pipeline.gpus import hold_gpus

HOLDER = """\
import os, sys, time
from bench.pipeline.gpus import hold_gpus
kind, _, number = sys.argv[2].rpartition(" ")
places = (lambda gpu: int(number)) if kind == "auto" else int(number)
with hold_gpus(int(sys.argv[1]), places=places) as held:
    told = " of " + os.environ["BENCH_CELLS_ON_GPU"] if kind else ""
    print(os.environ["CUDA_VISIBLE_DEVICES"] + told, flush=True)
    sys.stdin.read()
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Three GPUs, locks of the test's own, no Slurm."""
    return stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a"), Card("GPU-b"), Card("GPU-c")])


@pytest.fixture
def start(machine: Machine) -> Iterator[Start]:  # noqa: ARG001
    """Start a job that holds so many GPUs, each in one of its `places`, until its standard input is closed.

    places: a number, or 'auto 3': what a job counts that asks for places of a size. Of those the output tells the GPU
    and how many places it has.
    """
    started = []

    def run(count: int, places: int | str = 1, **variables: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        words = [sys.executable, "-c", HOLDER, str(count), str(places)]
        job = subprocess.Popen(words, text=True, env={**os.environ, **variables}, **pipes)
        started.append(job)
        return job

    yield run
    for job in started:
        job.kill()
        job.wait()
        for stream in (job.stdin, job.stdout, job.stderr):
            stream.close()


def test_jobs_at_once_have_different_ones_and_the_next_waits(start: Start) -> None:
    first, second = start(1), start(2)
    held = [job.stdout.readline().strip().split(",") for job in (first, second)]
    assert sorted(name for names in held for name in names) == ["GPU-a", "GPU-b", "GPU-c"]
    third = start(1)
    assert "waiting for 1 of the GPUs GPU-a, GPU-b, GPU-c" in third.stderr.readline()
    first.stdin.close()
    assert third.stdout.readline().strip() == held[0][0]


def test_a_killed_job_holds_nothing(start: Start) -> None:
    first = start(3)
    first.stdout.readline()
    second = start(3)
    assert "waiting" in second.stderr.readline()
    first.send_signal(signal.SIGKILL)
    assert second.stdout.readline().strip() == "GPU-a,GPU-b,GPU-c"


def test_two_that_want_more_than_there_is_both_come_to_it(start: Start) -> None:
    jobs = [start(2) for _ in range(3)]
    for _ in jobs:
        (ready,) = _one_ready(jobs)
        ready.stdin.close()
        ready.wait(20)
        jobs.remove(ready)


def _one_ready(jobs: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    import select

    streams, _, _ = select.select([job.stdout for job in jobs], [], [], 30)
    ready = [job for job in jobs if job.stdout in streams and job.stdout.readline()]
    time.sleep(1)  # a second one would have come by now, if two could
    assert len(ready) == 1
    assert not select.select([job.stdout for job in jobs if job not in ready], [], [], 0)[0] or len(jobs) == 1
    return ready


def test_one_card_has_one_lock_whatever_its_name(start: Start) -> None:
    first = start(1, CUDA_VISIBLE_DEVICES="1")
    assert first.stdout.readline().strip() == "GPU-b"
    second = start(1, CUDA_VISIBLE_DEVICES="GPU-b")
    assert "waiting for 1 of the GPUs GPU-b" in second.stderr.readline()
    first.stdin.close()
    assert second.stdout.readline().strip() == "GPU-b"


def test_instances_of_a_split_card_are_held_one_by_one(machine: Machine, start: Start) -> None:
    machine.cards[:] = [Card("GPU-a", instances=("MIG-1", "MIG-2"))]
    machine.write()
    held = [start(1).stdout.readline().strip() for _ in range(2)]
    assert held == ["MIG-1", "MIG-2"]


def test_cells_of_one_slurm_job_have_different_ones(start: Start) -> None:
    """Snakemake in `salloc` with two GPUs: Slurm gave them to the job, and nobody to the cells."""
    job = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,1"}
    first, second = start(1, **job), start(1, **job)
    assert sorted(cell.stdout.readline().strip() for cell in (first, second)) == ["GPU-a", "GPU-b"]
    third = start(1, **job)
    assert "waiting for 1 of the GPUs GPU-a, GPU-b" in third.stderr.readline()


def test_cells_share_a_gpu_up_to_the_number_of_its_places(machine: Machine, start: Start) -> None:
    machine.cards[:] = [Card("GPU-a"), Card("GPU-b")]
    machine.write()
    sharing = []
    for gpu in ("GPU-a", "GPU-b", "GPU-a", "GPU-b"):  # they spread before they share
        sharing.append(start(1, 2))
        assert sharing[-1].stdout.readline().strip() == gpu
    fifth = start(1, 2)
    assert "waiting for 1 of the GPUs GPU-a, GPU-b" in fifth.stderr.readline()
    sharing[1].send_signal(signal.SIGKILL)
    assert fifth.stdout.readline().strip() == "GPU-b"


@pytest.mark.parametrize(("first", "second"), [(1, 3), (3, 1), (3, 2)])
def test_who_counts_otherwise_shares_no_gpu_with_them(start: Start, first: int, second: int) -> None:
    card = {"CUDA_VISIBLE_DEVICES": "1"}
    holder = start(1, first, **card)
    assert holder.stdout.readline().strip() == "GPU-b"
    other = start(1, second, **card)
    assert "waiting for 1 of the GPUs GPU-b" in other.stderr.readline()
    holder.stdin.close()
    assert other.stdout.readline().strip() == "GPU-b"


def test_who_needs_less_takes_a_place_of_who_came_first(start: Start) -> None:
    """The first on the card needs half of it: two places. Each is large enough for cells of which eight would fit."""
    card = {"CUDA_VISIBLE_DEVICES": "1"}
    large = start(1, "auto 2", **card)
    assert large.stdout.readline().strip() == "GPU-b of 2"
    assert start(1, "auto 8", **card).stdout.readline().strip() == "GPU-b of 2"
    third = start(1, "auto 8", **card)
    assert "waiting for 1 of the GPUs GPU-b" in third.stderr.readline()
    large.stdin.close()
    assert third.stdout.readline().strip() == "GPU-b of 2"


@pytest.mark.parametrize(
    ("first", "second"), [("auto 8", "auto 2"), ("auto 2", "2"), ("2", "auto 2"), ("auto 1", "auto 8")]
)
def test_who_needs_more_waits_until_the_gpu_is_free(start: Start, first: str, second: str) -> None:
    """As does who counts by a number of the study's, and whoever comes to a cell that fits alone."""
    card = {"CUDA_VISIBLE_DEVICES": "1"}
    holder = start(1, first, **card)
    assert holder.stdout.readline().startswith("GPU-b")
    other = start(1, second, **card)
    assert "waiting for 1 of the GPUs GPU-b" in other.stderr.readline()
    holder.stdin.close()
    assert other.stdout.readline().startswith("GPU-b")


def test_places_are_counted_on_each_gpu_by_its_own_memory(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.cards[:] = [Card("GPU-a", memory=16 * 2**30), Card("GPU-b", memory=80 * 2**30)]
    machine.write()
    for name, number in (("GPU-a", 1), ("GPU-b", 5)):
        monkeypatch.setenv(VARIABLE, name)
        for sharing in ("places", "at_once"):
            with hold_gpus(1, **{sharing: lambda gpu: gpu.memory // (16 * 2**30)}):
                assert cells_on_gpu() == number


def test_single_cells_of_a_slurm_job_share_no_gpu(start: Start) -> None:
    job = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "1"}
    assert start(1, 3, **job).stdout.readline().strip() == "GPU-b"
    assert "waiting for 1 of the GPUs GPU-b" in start(1, 3, **job).stderr.readline()


def test_how_many_could_share_the_gpu_is_known_inside(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for places, at_once, expected in ((1, 1, 1), (3, 1, 3), (1, 2, 2)):
        with hold_gpus(1, places=places, at_once=at_once):
            assert cells_on_gpu() == expected
        assert cells_on_gpu() == 1
    with hold_gpus(0, places=3):
        assert cells_on_gpu() == 1
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with hold_gpus(1, places=3):
        assert cells_on_gpu() == 1
    machine.error = NO_LIBRARY  # a machine without GPUs
    machine.write()
    with hold_gpus(1, places=3, at_once=2):
        assert cells_on_gpu() == 1


def test_a_gpu_that_slurm_gives_to_two_jobs_is_shared(start: Start) -> None:
    """As shards of it, or by MPS."""
    for number in ("7", "8"):
        job = start(1, SLURM_JOB_ID=number, CUDA_VISIBLE_DEVICES="2")
        assert job.stdout.readline().strip() == "GPU-c"


def test_where_nobody_can_be_asked_its_name_is_locked(machine: Machine, start: Start) -> None:
    """In a container without NVIDIA's libraries, and on a test cluster."""
    machine.error = NO_LIBRARY
    machine.write()
    job = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,1"}
    assert [start(1, **job).stdout.readline().strip() for _ in range(2)] == ["0", "1"]


@pytest.mark.usefixtures("machine")
def test_what_the_job_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    with hold_gpus(1) as held:
        assert held == ["GPU-a"]
        assert os.environ[VARIABLE] == "GPU-a"
    assert VARIABLE not in os.environ
    monkeypatch.setenv(VARIABLE, "2, 1")
    with hold_gpus(1):
        assert os.environ[VARIABLE] == "GPU-c"
    assert os.environ[VARIABLE] == "2, 1"
    with hold_gpus(0) as held:  # the CPU, whatever there is
        assert (held, os.environ[VARIABLE]) == ([], "")
    with pytest.raises(BenchError, match="asks for 3 GPUs, here are 2: GPU-c, GPU-b"), hold_gpus(3):
        pass


def test_a_machine_without_any(machine: Machine) -> None:
    machine.error = NO_LIBRARY
    machine.write()
    with hold_gpus(2) as held:
        assert held == []
        assert VARIABLE not in os.environ


@pytest.mark.usefixtures("machine")
def test_a_folder_without_locks_is_told_and_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:  # as on network file systems
        patch.setattr(fcntl, "flock", unsupported)
        with pytest.raises(BenchError, match=r"GPU-a: cannot be locked \(No locks available\); .*TMPDIR"), hold_gpus(1):
            pass
    folder = tmp_path / f"rankbench-gpus-{os.getuid()}"
    (folder / "GPU-a").unlink()
    (folder / "GPU-a").mkdir()
    with pytest.raises(BenchError, match=r"GPU-a: Is a directory; .*TMPDIR"), hold_gpus(1):
        pass
    (folder / "GPU-a").rmdir()
    folder.rmdir()
    folder.touch()
    with pytest.raises(BenchError, match="set TMPDIR"), hold_gpus(1):
        pass
