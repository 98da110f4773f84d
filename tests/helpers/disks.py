"""A real file system of a few kilobytes, a tmpfs. It needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILE = "tests/faults/test_fault_05_06_disk_full.py"


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a tmpfs of `size` bytes at `folder`. Skips the test if that isn't allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True
    )
    if done.returncode:
        why = done.stderr.splitlines()[0].rpartition(": ")[2]
        pytest.skip(f"a full disk is one that root mounts ({why}): sudo uv run pytest {FILE}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def resize(folder: Path, size: int) -> None:
    """Give the mounted tmpfs another size in bytes."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
