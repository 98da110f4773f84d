"""One process per cell, on shared storage without file locks: a lease file that its holder renews while it works.

The lease file is made by a hard link: of several processes exactly one succeeds, on NFS too. Its age is measured by the
clock of the file system, against a file written next to it, so the clocks of the nodes need not agree. A lease is taken
over if its holder is known to be gone, if it was not renewed for STALE seconds, or if whoever waits saw no renewal for
as long: a lease from the future, after a clock was set back, has no age.

What a lease says can only shorten the wait. One that cannot be read, because a node lost its power while it wrote, is
judged by its age alone.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.errors import BenchError
from bench.files import clear_when_full, sync_folder
from bench.log import waiting

NAME = ".lease"
RENEW = 15.0  # seconds between renewals
STALE = 120.0  # seconds without a renewal after which the holder counts as dead
POLL = 2.0  # seconds between attempts to take a lease that is held
MOST_BYTES = 4096  # of a lease; what is longer is none


@dataclass(frozen=True)
class Holder:
    """Who holds a lease. `machine` tells apart machines of one name, and one machine before and after a restart."""

    host: str
    machine: str
    pid: int
    slurm: str  # the id of the Slurm job; empty outside of Slurm
    token: str

    @classmethod
    def this_process(cls) -> Holder:
        slurm = os.environ.get("SLURM_JOB_ID", "")
        return cls(socket.gethostname(), _machine(), os.getpid(), slurm, uuid.uuid4().hex)

    @classmethod
    def parse(cls, content: bytes) -> Holder | None:
        """The holder that a lease names; None if it cannot be read."""
        try:
            holder = cls(**json.loads(content))
        except (ValueError, TypeError, RecursionError):
            return None
        texts = (holder.host, holder.machine, holder.slurm, holder.token)
        valid = all(isinstance(text, str) for text in texts) and type(holder.pid) is int and 0 < holder.pid < 2**31
        return holder if valid else None

    def is_gone(self, mine: Holder) -> bool:
        """Whether the holder cannot be alive: it ended on this machine, or was this Slurm job before a requeue."""
        if self.slurm and self.slurm == mine.slurm and self.pid != mine.pid:
            return True
        if (self.host, self.machine) != (mine.host, mine.machine):
            return False
        if self.pid == mine.pid:  # an earlier process: ids come again, and in a container the first is always 1
            return True
        try:
            os.kill(self.pid, 0)  # signal 0 only asks whether the process exists
        except ProcessLookupError:
            return True
        except PermissionError:  # it exists, and belongs to another user
            return False
        return False


@dataclass(frozen=True)
class Lease:
    """A lease file as it was found: its content (nothing if it cannot be read) and when it was renewed."""

    content: bytes
    renewed: int  # nanoseconds, by the clock of the file system

    @classmethod
    def at(cls, file: Path) -> Lease | None:
        """The lease in `file`; None if there is none."""
        try:
            renewed = file.lstat().st_mtime_ns
        except FileNotFoundError:
            return None
        return cls(_content(file), renewed)

    @property
    def holder(self) -> Holder | None:
        return Holder.parse(self.content)


@contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Hold the lease of `folder` while the block runs. If another process holds it, wait until that one has ended.

    Raises BenchError if a folder stands where the lease belongs, and TransientError if the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, mine = folder / NAME, Holder.this_process()
    if not _take(file, mine):
        _wait_for(file, mine)
    _clear(file, mine)
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(file, mine, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if Holder.parse(_content(file)) == mine:
            file.unlink(missing_ok=True)


def is_held(folder: Path) -> bool:
    """Whether a process holds the lease of `folder`, as far as can be seen without an attempt to take it.

    It compares the time of the lease with this machine's clock, so it is for display: nothing may be decided by it.
    """
    try:
        found = Lease.at(folder / NAME)
    except (BenchError, OSError):  # a folder in its place, which stops whoever needs the lease; or another user's
        return False
    if found is None or time.time() - found.renewed / 1e9 > STALE:
        return False
    return found.holder is None or not found.holder.is_gone(replace(Holder.this_process(), slurm=""))


def _wait_for(file: Path, mine: Holder) -> None:
    """Take the lease once its holder released it, or did not renew it for STALE seconds of this process's clock."""
    found, since = Lease.at(file), time.monotonic()
    who = found.holder if found else None
    with waiting(f"another process that works on {file.parent}: {who or 'its lease cannot be read'}"):
        while not _take(file, mine):
            time.sleep(POLL)
            now = Lease.at(file)
            if now != found:
                found, since = now, time.monotonic()
            elif now is not None and time.monotonic() - since > STALE:
                _remove(file, now.content)


def _take(file: Path, mine: Holder) -> bool:
    """Take the lease if it is free. If its holder is gone, remove it, so that the next attempt finds it free."""
    candidate = file.with_name(f"{NAME}.{mine.token}")
    try:
        with clear_when_full(file.parent, MOST_BYTES):
            _write(candidate, json.dumps(asdict(mine)).encode())
        os.link(candidate, file)
        sync_folder(file.parent)
        return True
    except FileExistsError:
        held = Lease.at(file)
        if held is not None:
            age = (candidate.stat().st_mtime_ns - held.renewed) / 1e9
            if age > STALE or (held.holder is not None and held.holder.is_gone(mine)):
                _remove(file, held.content)
        return False
    finally:
        candidate.unlink(missing_ok=True)


def _write(file: Path, content: bytes) -> None:
    """Write `content` and put it on the disk: a link to a file that is not there yet would survive a loss of power."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _remove(file: Path, content: bytes) -> None:
    """Remove the dead lease that holds `content`.

    Another process may have replaced it in the meantime: what was moved aside is then a live lease, and is put back.
    """
    aside = file.with_name(f"{NAME}.{uuid.uuid4().hex}")
    try:
        file.rename(aside)
        if _content(aside) != content:
            os.link(aside, file)
    except (FileNotFoundError, FileExistsError):
        pass
    finally:
        aside.unlink(missing_ok=True)


def _clear(file: Path, mine: Holder) -> None:
    """Remove what processes left beside the lease that were killed while they took one: called by its new holder."""
    with suppress(FileNotFoundError):  # one of them is just being removed by its own process
        for left in file.parent.glob(f"{NAME}.*"):
            holder = Holder.parse(_content(left))
            age = (file.stat().st_mtime_ns - left.stat().st_mtime_ns) / 1e9
            if age > STALE or (holder is not None and holder.is_gone(mine)):
                left.unlink()


def _content(file: Path) -> bytes:
    """What the file holds; nothing if it is not there or cannot be read. Raises BenchError if it is a folder."""
    try:
        with file.open("rb") as stream:
            return stream.read(MOST_BYTES)
    except IsADirectoryError as error:
        raise BenchError(f"{file}: is a folder, where the lease of the cell belongs; remove it") from error
    except OSError:
        return b""


def _renew(file: Path, mine: Holder, ended: threading.Event) -> None:
    """Renew the lease until the block ends.

    A process that was suspended for too long can have lost its lease to another. It sends itself SIGTERM, which makes a
    training save a checkpoint and stop, as if the user had asked it to.
    """
    while not ended.wait(RENEW):
        holder = Holder.parse(_content(file))
        if holder is not None and holder.token != mine.token:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        with suppress(OSError, BenchError):  # the file system hangs or is full: the next renewal may succeed
            try:
                os.utime(file)  # Path.touch would make an empty file of a lease that was removed
            except FileNotFoundError:
                _take(file, mine)


def _machine() -> str:
    """This machine since its start, and the container in it: where a process id is valid. Empty where it is unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + " " + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
