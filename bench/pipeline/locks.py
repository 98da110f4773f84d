"""Who holds Snakemake's lock on this folder: told to a second pipeline before Snakemake refuses it."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

from bench.files import write_atomic
from bench.paths import SnakemakePaths

PATHS = SnakemakePaths()
UNLOCK = "uv run snakemake --unlock --cores 1"


def note_holder(study: str) -> None:
    """Write down who runs the pipeline here (called once the lock is ours)."""
    holder = {
        "study": study,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    write_atomic(PATHS.holder, json.dumps(holder).encode())


def announce_holder() -> None:
    """Where a lock stands: whose it is, whether that process still runs, and the command that removes a dead one's."""
    locks = PATHS.locks
    if not locks.is_dir() or not any(locks.iterdir()):
        return
    try:
        holder = json.loads((PATHS.holder).read_text())
        who = f"study {holder['study']}, process {holder['pid']} on {holder['host']}, since {holder['since']}"
        ended = holder["host"] == socket.gethostname() and not Path(f"/proc/{holder['pid']}").exists()
    except (OSError, ValueError, KeyError):
        who, ended = "unknown", False
    state = "it has ended" if ended else "if it has ended"
    print(f"a pipeline holds this folder ({who}); {state}: {UNLOCK}", file=sys.stderr, flush=True)
