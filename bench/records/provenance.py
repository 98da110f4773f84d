"""In what environment a record was made."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.files import sha256_file

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "datasets",
    "tokenizers",
    "numpy",
    "scikit-learn",
    "rouge-score",
)
ROOT = Path(__file__).resolve().parents[2]


def environment(device: str) -> dict[str, Any]:
    """Packages, lock, commit, device, machine; Slurm's names of the job where there is one."""
    lock = ROOT / "requirements.lock"
    return {
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "lock_sha256": sha256_file(lock) if lock.is_file() else None,
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "device": device,
        "device_name": _device_name(device),
        "machine": platform.node(),
        "platform": platform.platform(),
        "slurm": {k: v for k, v in sorted(os.environ.items()) if k in _SLURM} or None,
    }


_SLURM = ("SLURM_JOB_ID", "SLURMD_NODENAME", "SLURM_RESTART_COUNT", "SLURM_JOB_PARTITION", "SLURM_MEM_PER_NODE")


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()
