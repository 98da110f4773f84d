"""Two processes never work on one cell at the same time; a dead one's lease is taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench import lease as module
from bench.errors import BenchError
from bench.lease import NAME, Holder, lease

HOLD = """
import sys, time
from pathlib import Path
from bench import lease as module
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


KILLED_IN_BETWEEN = """
import os, signal, sys
from pathlib import Path
from bench import lease as module
module.sync_folder = lambda folder: os.kill(os.getpid(), signal.SIGKILL)  # after the link, before the file is removed
with module.lease(Path(sys.argv[1])):
    pass
"""


def test_what_killed_processes_left_beside_the_lease_is_removed(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_BETWEEN, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    empty, waiting = tmp_path / f"{NAME}.cut", tmp_path / f"{NAME}.waiting"
    empty.touch()
    long_ago = time.time() - 2 * module.STALE
    os.utime(empty, (long_ago, long_ago))
    waiting.write_text(json.dumps(ELSEWHERE))  # of a live process of another machine
    with lease(tmp_path):
        assert sorted(file.name for file in tmp_path.iterdir()) == [NAME, waiting.name]
    assert list(tmp_path.iterdir()) == [waiting]


ELSEWHERE = asdict(Holder(host="elsewhere", machine="m", pid=1, slurm="7", token="x"))
UNREADABLE = {
    "empty": b"",
    "cut off": json.dumps(ELSEWHERE).encode()[:20],
    "binary": os.urandom(64),
    "nested": b"[" * 4000,
    "no mapping": b"null",
    "a key less": b'{"host": "elsewhere"}',
    "a key more": json.dumps(ELSEWHERE | {"more": 1}).encode(),
    "no process id": json.dumps(ELSEWHERE | {"pid": "1"}).encode(),
    "a group of processes": json.dumps(ELSEWHERE | {"pid": -1}).encode(),
    "a huge process id": json.dumps(ELSEWHERE | {"pid": 10**30}).encode(),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything a hundred times faster: a lease is stale after 1.2 seconds."""
    for name in ("RENEW", "STALE", "POLL"):
        monkeypatch.setattr(module, name, getattr(module, name) / 100)


def seconds_until_taken(folder: Path) -> float:
    started = time.monotonic()
    with lease(folder):
        waited = time.monotonic() - started
    assert list(folder.iterdir()) == []
    return waited


def held(folder: Path, content: bytes, age: float) -> None:
    file = folder / NAME
    file.write_bytes(content)
    os.utime(file, (time.time() - age, time.time() - age))


@pytest.mark.parametrize("content", [*UNREADABLE.values(), json.dumps(ELSEWHERE).encode()], ids=[*UNREADABLE, "whole"])
def test_a_lease_that_was_not_renewed_is_taken_over_whatever_it_holds(tmp_path: Path, content: bytes) -> None:
    held(tmp_path, content, age=module.STALE + 10)
    assert seconds_until_taken(tmp_path) < module.POLL + 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("age", [0, -1e6, -1e9], ids=["fresh", "from the future", "from a far future"])
@pytest.mark.parametrize("content", [b"", json.dumps(ELSEWHERE).encode()], ids=["empty", "whole"])
def test_a_lease_that_is_never_renewed_is_waited_for_once(tmp_path: Path, content: bytes, age: float) -> None:
    held(tmp_path, content, age)
    assert module.STALE / 2 < seconds_until_taken(tmp_path) < 4 * module.STALE


@pytest.mark.usefixtures("quick")
def test_a_lease_that_is_renewed_is_waited_for_on_a_clock_that_was_set_back(tmp_path: Path) -> None:
    held(tmp_path, json.dumps(ELSEWHERE).encode(), age=-1e6)
    ended = time.monotonic() + 2 * module.STALE

    def renew() -> None:
        while time.monotonic() < ended:
            stamp = time.time() + 1e6
            os.utime(tmp_path / NAME, (stamp, stamp))
            time.sleep(module.RENEW)
        (tmp_path / NAME).unlink()

    threading.Thread(target=renew).start()
    assert seconds_until_taken(tmp_path) > 1.5 * module.STALE


def test_a_dead_process_of_this_machine_is_not_waited_for_and_another_machine_of_its_name_is(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    mine = Holder.this_process()
    dead = replace(mine, pid=ended.pid, token="x")
    assert dead.is_gone(mine)
    assert not replace(dead, machine="another start, or another machine").is_gone(mine)
    assert not replace(dead, host="elsewhere").is_gone(mine)
    assert not replace(mine, pid=os.getppid(), token="x").is_gone(mine)
    assert replace(mine, token="x").is_gone(mine)  # its id has come again: this process takes a lease once
    held(tmp_path, json.dumps(asdict(dead)).encode(), age=-100)
    assert seconds_until_taken(tmp_path) < module.POLL + 1


@pytest.mark.usefixtures("quick")
def test_a_lease_that_somebody_removed_is_written_again_and_not_left_empty(tmp_path: Path) -> None:
    with lease(tmp_path):
        before = (tmp_path / NAME).read_bytes()
        (tmp_path / NAME).unlink()
        end = time.monotonic() + 10
        while not (tmp_path / NAME).exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        assert (tmp_path / NAME).read_bytes() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(tmp_path / "nowhere")
    assert seconds_until_taken(tmp_path) < 4 * module.STALE
    (tmp_path / NAME).mkdir()
    with pytest.raises(BenchError, match="is a folder, where the lease of the cell belongs"), lease(tmp_path):
        pass


def test_the_lease_is_on_the_disk_before_it_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(os, "link", lambda *names: (order.append("link"), link(*names))[1])
    with lease(tmp_path):
        assert order == ["fsync", "link", "fsync"]  # the file, its name, the folder


def test_the_lease_of_another_machine_counts_as_long_as_it_is_renewed(tmp_path: Path) -> None:
    held(tmp_path, json.dumps(ELSEWHERE).encode(), age=0)
    process = hold(tmp_path, 1)
    time.sleep(2)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert json.loads((tmp_path / NAME).read_text()) == ELSEWHERE
