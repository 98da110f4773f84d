"""One process a cell, on shared storage without file locks: a lease file, renewed while its holder works.

A lease is made by a hard link, which one process alone can make, on NFS too. Its age is measured against the clock of
the file system, by a file written next to it, so that the clocks of nodes need not agree. A lease whose holder is known
to be gone, or that was not renewed for STALE seconds, is taken over.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.log import waiting

NAME = ".lease"
RENEW = 15.0  # seconds
STALE = 120.0
POLL = 2.0


@contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Hold `folder` while the block runs; where another process holds it, wait until that one ended."""
    folder.mkdir(parents=True, exist_ok=True)
    file, mine = folder / NAME, _myself()
    if not _take(file, mine):
        with waiting(f"another process that works on {folder}: {_read(file)}"):
            while not _take(file, mine):
                time.sleep(POLL)
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(file, mine, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if _read(file) == mine:
            file.unlink(missing_ok=True)


def _myself() -> dict[str, str | int]:
    slurm = os.environ.get("SLURM_JOB_ID", "")
    return {"host": socket.gethostname(), "pid": os.getpid(), "slurm": slurm, "token": uuid.uuid4().hex}


def _take(file: Path, mine: dict[str, str | int]) -> bool:
    """Make the lease ours if it is free or its holder is gone."""
    own = file.with_name(f"{NAME}.{mine['token']}")
    own.write_text(json.dumps(mine))
    try:
        os.link(own, file)
        return True
    except FileExistsError:
        held = _read(file)
        if held and (_gone(held, mine) or _age(file, own) > STALE):
            _remove(file, held)
        return False
    finally:
        own.unlink(missing_ok=True)


def _remove(file: Path, held: dict[str, str | int]) -> None:
    """Take the dead lease `held` away; if another was quicker and we caught the new one, it goes back."""
    aside = file.with_name(f"{NAME}.{uuid.uuid4().hex}")
    try:
        file.rename(aside)
        if _read(aside) != held:
            os.link(aside, file)
    except (FileNotFoundError, FileExistsError):
        pass
    finally:
        aside.unlink(missing_ok=True)


def _gone(held: dict[str, str | int], mine: dict[str, str | int]) -> bool:
    """Whether the holder can't be alive: the same Slurm job, requeued, or a process of this machine that ended."""
    if held["slurm"] and held["slurm"] == mine["slurm"] and held["pid"] != mine["pid"]:
        return True
    if held["host"] != mine["host"]:
        return False
    try:
        os.kill(int(held["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _age(file: Path, fresh: Path) -> float:
    """Seconds since the lease was renewed, by the clock that stamped the just written `fresh`."""
    try:
        return fresh.stat().st_mtime - file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read(file: Path) -> dict[str, str | int]:
    try:
        held: dict[str, str | int] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return held


def _renew(file: Path, mine: dict[str, str | int], ended: threading.Event) -> None:
    """Renew until the block ends. A holder that lost its lease (it slept too long) stops as if it were told to."""
    while not ended.wait(RENEW):
        held = _read(file)
        if held and held["token"] != mine["token"]:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        try:
            file.touch()
        except OSError:
            continue
