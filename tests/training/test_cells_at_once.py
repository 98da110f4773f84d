"""Several cells of one job at the same time, as real processes that wait for one another. No GPU is needed for that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
SCRIPT = """\
import functools, os, signal, sys, time
from pathlib import Path
from bench.errors import BenchError
from bench.training.group import Group, Job

FOLDER = Path(sys.argv[1])

def cell(name):
    # ends when the test says so, with 75 at SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    (FOLDER / f"{name}.pid").write_text(str(os.getpid()))
    (FOLDER / f"{name}.pid").rename(FOLDER / f"{name}.started")
    while not (FOLDER / f"{name}.end").exists():
        time.sleep(0.02)
    print("the log of", name)
    if name == "b":
        raise BenchError("no luck")

if __name__ == "__main__":
    group = Group()
    with group.passing_signals():
        jobs = [Job(name, functools.partial(cell, name), FOLDER / f"{name}.log") for name in "abc"]
        for name, code in group.run(jobs, int(sys.argv[2])):
            print(name, code, flush=True)
"""
SECONDS = 90


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not met():
        assert time.monotonic() < end
        time.sleep(0.05)


def start(folder: Path, at_once: int) -> subprocess.Popen[str]:
    script = folder / "job.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, str(script), str(folder), str(at_once)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)


def started(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.started")}


def test_the_next_starts_when_one_ends_and_none_suffers_from_another(tmp_path: Path) -> None:
    job = start(tmp_path, 2)
    until(lambda: started(tmp_path) == {"a", "b"})  # at the same time: neither ends by itself
    time.sleep(0.5)
    assert started(tmp_path) == {"a", "b"}
    (tmp_path / "b.end").touch()
    assert job.stdout.readline() == "b 2\n"
    until(lambda: started(tmp_path) == {"a", "b", "c"})
    os.kill(int((tmp_path / "c.started").read_text()), signal.SIGKILL)
    assert job.stdout.readline() == "c 137\n"
    (tmp_path / "a.end").touch()
    assert job.stdout.readline() == "a 0\n"
    assert job.wait(SECONDS) == 0
    assert (tmp_path / "a.log").read_text() == "the log of a\n"
    assert (tmp_path / "b.log").read_text() == "the log of b\nerror: no luck\n"


def test_a_signal_reaches_all_that_run_and_no_more_start(tmp_path: Path) -> None:
    job = start(tmp_path, 2)
    until(lambda: started(tmp_path) == {"a", "b"})
    job.terminate()
    assert sorted([job.stdout.readline(), job.stdout.readline()]) == ["a 75\n", "b 75\n"]
    assert job.wait(SECONDS) == 0
    assert started(tmp_path) == {"a", "b"}
