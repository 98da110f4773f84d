"""Every job on GPUs of its own. There are none here: nvidia-smi is a stand-in that lists three."""

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

from bench.errors import BenchError
from bench.pipeline.gpus import VARIABLE, hold_gpus, visible_gpus

HOLDER = """\
import os, sys, time
from bench.pipeline.gpus import hold_gpus
with hold_gpus(int(sys.argv[1])) as held:
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.read()
"""
Start = Callable[[int], subprocess.Popen[str]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three GPUs, locks of the test's own, no Slurm."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf 'GPU-a\\nGPU-b\\nGPU-c\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in (VARIABLE, "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start(machine: None) -> Iterator[Start]:  # noqa: ARG001
    """Start a job that holds so many GPUs until its standard input is closed."""
    started = []

    def run(count: int) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        job = subprocess.Popen([sys.executable, "-c", HOLDER, str(count)], text=True, **pipes)
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


@pytest.mark.usefixtures("machine")
def test_what_the_job_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    assert visible_gpus() == ["GPU-a", "GPU-b", "GPU-c"]
    with hold_gpus(1) as held:
        assert held == ["GPU-a"]
        assert os.environ[VARIABLE] == "GPU-a"
    assert VARIABLE not in os.environ
    monkeypatch.setenv(VARIABLE, "2, 5")
    with hold_gpus(1):
        assert os.environ[VARIABLE] == "2"
    assert os.environ[VARIABLE] == "2, 5"
    with hold_gpus(0) as held:  # the CPU, whatever there is
        assert (held, os.environ[VARIABLE]) == ([], "")
    with pytest.raises(BenchError, match="asks for 3 GPUs, here are 2: 2, 5"), hold_gpus(3):
        pass


@pytest.mark.usefixtures("machine")
def test_slurm_has_given_them_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(VARIABLE, "1")
    with hold_gpus(1) as held, hold_gpus(1) as again:
        assert held == again == ["1"]


def test_a_machine_without_any(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
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
