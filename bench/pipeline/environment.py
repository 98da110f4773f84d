"""The locked environment, by the hash of requirements.lock: what the login node and every job must agree on."""

from __future__ import annotations

import hashlib
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


def lock_hash(file: Path = LOCK) -> str:
    """SHA-256 (hex) of requirements.lock; empty where the package is used without it."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
