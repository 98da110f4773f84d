"""Write files so that a reader never sees half of one (temporary name, fsync, rename), and hash them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import DISK_FULL, TransientError


def digest(content: bytes | Path) -> str:
    """SHA-256 (64 hex digits) of some bytes, or of the bytes of a file."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys. Raises ValueError on NaN and infinity."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return digest(text.encode())


def canonical_json(value: Any) -> bytes:
    """A JSON value as bytes, the same on every machine. Raises ValueError on NaN and infinity."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    return text.encode() + b"\n"


def write_atomic(file: Path, data: bytes) -> None:
    """Write `data` to `file`, whole or not at all. It is on the disk when this returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
        sync_folder(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def clear_when_full(folder: Path, needed: int) -> Iterator[None]:
    """Turn the error of a full disk into a TransientError that says how many bytes are needed and how many are free."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(folder).free
        raise TransientError(f"{DISK_FULL} at {folder}: {needed:,} bytes needed, {free:,} free") from error


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk (fsync), since a renamed file is lost with its name."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def folder_in_one_step(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill, which replaces `folder` at the end. An error leaves `folder` as it was."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        # safetensors writes files that the owner alone can read; they get the mode that the user's umask asks for.
        mode = temporary.stat().st_mode & 0o666
        for path in [temporary, *temporary.rglob("*")]:
            if path.is_dir():
                sync_folder(path)  # the names of its files
            elif path.is_file():
                path.chmod(mode)
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def move_into(folder: Path, to: Path) -> None:
    """`folder` becomes `to`. One that is there stays: a link, a mount or the folder that somebody works in."""
    if not to.exists():
        folder.rename(to)
        return
    for child in sorted(folder.iterdir()):
        shutil.move(child, to / child.name)  # a link may lead to another disk
    folder.rmdir()
