"""The locked environment, by the hash of requirements.lock: what the login node and every job must agree on."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import BenchError
from bench.files import digest

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
VARIABLE = "BENCH_LOCK_SHA256"


def lock_hash(file: Path = LOCK) -> str:
    """SHA-256 (hex) of requirements.lock; empty where the package is used without it."""
    return digest(file) if file.is_file() else ""


def export_lock() -> None:
    """Tell every job that this process starts, here or through Slurm, which lock it was started with."""
    os.environ.setdefault(VARIABLE, lock_hash())


def check_lock() -> None:
    """A job must see the environment that the pipeline was started with. Raises BenchError."""
    expected, found = os.environ.get(VARIABLE), lock_hash()
    if expected and found != expected:
        raise BenchError(
            f"requirements.lock changed since the pipeline was started ({expected[:12]} then, {found[:12]} here): "
            "let the running jobs end, then start the pipeline again"
        )
