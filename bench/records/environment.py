"""In what environment a record was made. Asked once a process."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.files import digest

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "datasets",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "scikit-learn",
    "rouge-score",
)
ROOT = Path(__file__).resolve().parents[2]
CODE = ("bench", "workflow", "Snakefile", "slurm", "pyproject.toml", "requirements.lock")  # what can change a result


@cache
def environment(device: str) -> dict[str, Any]:
    """Packages, lock, commit, device, machine."""
    lock = ROOT / "requirements.lock"
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return {
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "lock_sha256": digest(lock) if lock.is_file() else None,
        "commit": _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
        "device": device,
        "device_name": _device_name(device),
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        if _cuda(device)
        else None,
        "machine": platform.node(),
        "platform": platform.platform(),
    }


def other_processes(device: str) -> list[int]:
    """Ids of processes that use the GPU too: memory figures taken beside them would be false. Empty on the CPU.

    Of several GPUs, those on which this process is listed; all, where it is on none (a container's ids are others).
    """
    if not _cuda(device):
        return []
    listed = _output("nvidia-smi", "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader") or ""
    lines = [line.replace(",", " ").split() for line in listed.splitlines()]
    found = [(gpu, int(pid)) for gpu, pid in (line for line in lines if len(line) == 2) if pid.isdigit()]
    ours = {gpu for gpu, pid in found if pid == os.getpid()}
    return sorted({pid for gpu, pid in found if gpu in ours or not ours} - {os.getpid()})


def _cuda(device: str) -> bool:
    return device.startswith("cuda")


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _device_name(device: str) -> str:
    if _cuda(device):
        import torch

        return str(torch.cuda.get_device_name(device))
    return _processor() or platform.processor() or platform.machine()


def _processor() -> str:
    """The processor's name as Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
