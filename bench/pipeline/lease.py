"""One process per cell, on shared storage without file locks: a lease file that its holder renews while it works.

The lease file is made by a hard link: of several processes exactly one succeeds, on NFS too. Its age is measured by the
clock of the file system, against a file written next to it, so the clocks of the nodes need not agree. A lease is taken
over if its holder is known to be gone, or if it was not renewed for STALE seconds.
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
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.log import waiting

NAME = ".lease"
RENEW = 15.0  # seconds between renewals
STALE = 120.0  # seconds without a renewal after which the holder counts as dead
POLL = 2.0  # seconds between attempts to take a lease that is held


@contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Hold the lease of `folder` while the block runs. If another process holds it, wait until that one has ended."""
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
    """Take the lease if it is free. If its holder is gone, remove it, so that the next attempt finds it free."""
    candidate = file.with_name(f"{NAME}.{mine['token']}")
    candidate.write_text(json.dumps(mine))
    try:
        os.link(candidate, file)
        return True
    except FileExistsError:
        held = _read(file)
        if held and (_is_gone(held, mine) or _age(file, candidate) > STALE):
            _remove(file, held)
        return False
    finally:
        candidate.unlink(missing_ok=True)


def _remove(file: Path, held: dict[str, str | int]) -> None:
    """Remove the dead lease `held`.

    Another process may have replaced it in the meantime: what was moved aside is then a live lease, and is put back.
    """
    aside = file.with_name(f"{NAME}.{uuid.uuid4().hex}")
    try:
        file.rename(aside)
        if _read(aside) != held:
            os.link(aside, file)
    except (FileNotFoundError, FileExistsError):
        pass
    finally:
        aside.unlink(missing_ok=True)


def _is_gone(held: dict[str, str | int], mine: dict[str, str | int]) -> bool:
    """Whether the holder cannot be alive: it ended on this machine, or was this Slurm job before a requeue."""
    if held["slurm"] and held["slurm"] == mine["slurm"] and held["pid"] != mine["pid"]:
        return True
    if held["host"] != mine["host"]:
        return False
    try:
        os.kill(int(held["pid"]), 0)  # signal 0 only asks whether the process exists
    except ProcessLookupError:
        return True
    except PermissionError:  # it exists, and belongs to another user
        return False
    return False


def _age(file: Path, fresh: Path) -> float:
    """Seconds since the lease was renewed, by the clock that stamped the just written file `fresh`."""
    try:
        return fresh.stat().st_mtime - file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read(file: Path) -> dict[str, str | int]:
    """Who holds the lease; an empty dictionary if nobody does, or the file is being written."""
    try:
        held: dict[str, str | int] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return held


def _renew(file: Path, mine: dict[str, str | int], ended: threading.Event) -> None:
    """Renew the lease until the block ends.

    A process that was suspended for too long can have lost its lease to another. It sends itself SIGTERM, which makes a
    training save a checkpoint and stop, as if the user had asked it to.
    """
    while not ended.wait(RENEW):
        held = _read(file)
        if held and held["token"] != mine["token"]:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        with suppress(OSError):  # the file system hangs or is full: the next renewal may succeed
            file.touch()
