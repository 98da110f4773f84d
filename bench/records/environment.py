"""In what environment a record was made: packages, commit, machine, device."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.files import digest

DISTRIBUTION = "rankbench"
ROOT = Path(__file__).resolve().parents[2]  # of the checkout; a folder without pyproject.toml if installed from a wheel
CODE = ("bench", "workflow", "Snakefile", "slurm", "pyproject.toml", "requirements.lock")  # what can change a result
TIMEOUT = 20  # seconds for git or nvidia-smi


@cache  # git and nvidia-smi take up to a second, and nothing of this changes while a process runs
def environment(device: str) -> dict[str, Any]:
    """Where a cell runs, as JSON data. `device` is torch's name of it: 'cpu', 'cuda', 'cuda:1'.

    `commit` and `dirty` (whether tracked files that can change a result were edited) are None outside a git checkout,
    `lock_sha256` where there is no requirements.lock, `driver` on the CPU.
    """
    lock = ROOT / "requirements.lock"
    return {
        "python": platform.python_version(),
        "packages": _packages(),
        "lock_sha256": digest(lock) if lock.is_file() else None,
        "commit": _git("rev-parse", "HEAD"),
        "dirty": _dirty(),
        "device": device,
        "device_name": _device_name(device),
        "driver": _driver(device),
        "machine": platform.node(),
        "platform": platform.platform(),
    }


def other_processes(device: str) -> list[int]:
    """The ids of other processes on the GPUs that this process uses; empty on the CPU.

    Memory figures measured beside them are not this process's alone. In a container, nvidia-smi lists process ids that
    this process does not know as its own; then processes on any GPU count.
    """
    if not _on_gpu(device):
        return []
    listed = _output("nvidia-smi", "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader") or ""
    # One line per process: "GPU-<uuid>, <pid>". Other lines are messages, such as "[N/A]".
    lines = [line.replace(",", " ").split() for line in listed.splitlines()]
    running = [(gpu, int(pid)) for gpu, pid in (line for line in lines if len(line) == 2) if pid.isdigit()]
    our_gpus = {gpu for gpu, pid in running if pid == os.getpid()}
    return sorted({pid for gpu, pid in running if gpu in our_gpus or not our_gpus} - {os.getpid()})


def _packages() -> dict[str, str]:
    """The version of each installed package that this project declares as a dependency."""
    declared = metadata.requires(DISTRIBUTION) or []
    # A requirement starts with the name: "torch>=2.13", "trackio; extra == 'trackers'".
    names = [re.match(r"[\w.-]+", requirement) for requirement in declared]
    versions = {}
    for name in (match[0] for match in names if match):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an optional one
            continue
    return versions


def _dirty() -> bool | None:
    # Untracked files don't count: results/ and caches are always there.
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return None if changed is None else bool(changed)


def _git(*arguments: str) -> str | None:
    """What git says about the checkout; None where there is none.

    Installed from a wheel, the package may lie inside the repository of somebody else's project, which git would find.
    """
    if not (ROOT / "pyproject.toml").is_file():
        return None
    return _output("git", "-C", str(ROOT), *arguments)


def _driver(device: str) -> str | None:
    if not _on_gpu(device):
        return None
    return _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def _on_gpu(device: str) -> bool:
    return device.startswith("cuda")


def _output(*command: str) -> str | None:
    """What the command printed; None if it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _device_name(device: str) -> str:
    if _on_gpu(device):
        import torch  # imported here, because Snakemake's main process reads records without it

        return str(torch.cuda.get_device_name(device))
    return _processor() or platform.processor() or platform.machine()


def _processor() -> str:
    """The processor's name from /proc/cpuinfo; empty on other systems than Linux."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
