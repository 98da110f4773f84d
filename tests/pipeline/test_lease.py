"""Two processes never work on one cell at the same time; a dead one's lease is taken over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.pipeline.lease import NAME, lease

HOLD = """
import sys, time
from pathlib import Path
from bench.pipeline import lease as module
module.POLL = 0.05
folder = Path(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with module.lease(folder):
        mark = folder / "inside"
        mark.touch(exist_ok=False)
        time.sleep(0.05)
        mark.unlink()
"""


def hold(folder: Path, times: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder), str(times)])


def test_processes_take_turns(tmp_path: Path) -> None:
    processes = [hold(tmp_path, 10) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_lease_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    process = hold(tmp_path, 1000)
    while not (tmp_path / NAME).exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    (tmp_path / NAME).touch()
    started = time.monotonic()
    with lease(tmp_path):
        assert time.monotonic() - started < 30


@pytest.mark.parametrize(("age", "taken"), [(600, True), (0, False)])
def test_lease_of_another_machine_counts_as_long_as_it_is_renewed(tmp_path: Path, age: int, taken: bool) -> None:
    file = tmp_path / NAME
    file.write_text(json.dumps({"host": "elsewhere", "pid": 1, "slurm": "7", "token": "x"}))
    stamp = time.time() - age
    os.utime(file, (stamp, stamp))
    process = hold(tmp_path, 1)
    if taken:
        assert process.wait(60) == 0
        return
    time.sleep(3)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert json.loads(file.read_text())["token"] == "x"
