"""Two locks. requirements.lock: the login node and every job must run the same one. Snakemake's lock on the working
folder: a second pipeline is told who holds it, before Snakemake refuses to start.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import time
from pathlib import Path

from bench.errors import BenchError
from bench.files import digest, write_atomic
from bench.paths import SnakemakePaths

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.lock"
VARIABLE = "BENCH_LOCK_SHA256"
SNAKEMAKE = SnakemakePaths()


def requirements_hash() -> str:
    """SHA-256 (hex) of requirements.lock; empty where the package is installed without it."""
    return digest(REQUIREMENTS) if REQUIREMENTS.is_file() else ""


def export_requirements_hash() -> None:
    """Give every job that this process starts, here or through Slurm, the hash to compare with.

    A Snakemake that runs inside a job keeps the hash that the first one set.
    """
    os.environ.setdefault(VARIABLE, requirements_hash())


def check_requirements_hash() -> None:
    """Raises BenchError if a job's requirements.lock is not the one that the pipeline was started with."""
    expected, here = os.environ.get(VARIABLE), requirements_hash()
    if expected and here != expected:
        raise BenchError(
            f"requirements.lock changed since the pipeline was started ({expected[:12]} then, {here[:12]} here): "
            "let the running jobs end, then start the pipeline again"
        )


def note_holder(study: str) -> None:
    """Write down who runs the pipeline in this folder. Called once Snakemake has taken its lock."""
    holder = {
        "study": study,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    write_atomic(SNAKEMAKE.holder, json.dumps(holder).encode())


def announce_holder() -> None:
    """If Snakemake's lock is taken, print who holds it, whether that process still runs, and how to remove the lock."""
    if not SNAKEMAKE.locks.is_dir() or not any(SNAKEMAKE.locks.iterdir()):
        return
    try:
        holder = json.loads(SNAKEMAKE.holder.read_text())
        who = f"study {holder['study']}, process {holder['pid']} on {holder['host']}, since {holder['since']}"
        ended = holder["host"] == socket.gethostname() and not _runs(int(holder["pid"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # an empty file, after a loss of power
        who, ended = "unknown", False
    state = "it has ended" if ended else "if it has ended"
    print(f"a pipeline holds this folder ({who}); {state}: {unlock_command()}", file=sys.stderr, flush=True)


def unlock_command() -> str:
    """The command that removes Snakemake's lock, in the words with which Snakemake was started here."""
    program = Path(sys.argv[0])
    words = [sys.executable, "-m", "snakemake"] if program.suffix == ".py" else [program.name]
    if "UV_RUN_RECURSION_DEPTH" in os.environ:  # set by `uv run`
        words = ["uv", "run", "snakemake"]
    given = sys.argv[1:]
    for option in ("--snakefile", "-s", "--directory", "-d"):
        if option in given[:-1]:
            words += [option, given[given.index(option) + 1]]
        words += [word for word in given if word.startswith(f"{option}=")]
    return shlex.join([*words, "--unlock", "--cores", "1"])


def _runs(process: int) -> bool:
    """Whether there is such a process on this machine; asked with a signal that does nothing, as macOS has no /proc."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
