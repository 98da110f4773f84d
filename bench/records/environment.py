"""In what environment a record was made: version, day, packages, commit, machine, device."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.files import digest
from bench.nvml import Gpu, cpu_in_place_of_gpus, driver_version, processes_on, visible_gpus

DISTRIBUTION = "rankbench"
ROOT = Path(__file__).resolve().parents[2]  # of the checkout; a folder without pyproject.toml if installed from a wheel
CODE = ("bench", "workflow", "Snakefile", "slurm", "pyproject.toml", "requirements.lock")  # what can change a result
LOCK = ROOT / "requirements.lock"
TIMEOUT = 20  # seconds for git
_COMMIT = re.compile(r"[0-9a-f]{40}")


@cache  # git takes up to a second, and nothing of this changes while a process runs
def environment(device: str) -> dict[str, Any]:
    """Where a cell runs, as JSON data. `device` is torch's name of it: 'cpu', 'cuda', 'cuda:1'.

    `rankbench`: this harness's version; records of 0.1 have none. `date`: the day in UTC, as 2026-01-31. `commit` and
    `dirty` (whether tracked files that can change a result were edited) are None outside a git checkout, `lock_sha256`
    where there is no requirements.lock, `driver` and `gpu_uuid` on the CPU. `cpu_capability` is the instruction set
    that PyTorch's kernels on the processor use, such as AVX512. `cpu_in_place_of_gpus`: this
    is the CPU because a variable said so (bench/nvml.py), though the process was given GPUs.
    """
    return {
        "rankbench": harness_version(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": platform.python_version(),
        "packages": _packages(),
        "lock_sha256": digest(LOCK) if LOCK.is_file() else None,
        "commit": _said(_git("rev-parse", "HEAD")),
        "dirty": _dirty(),
        "device": device,
        "device_name": _device_name(device),
        "cpu_capability": _cpu_capability(),
        "gpu_uuid": gpu.uuid if (gpu := _gpu(device)) else None,
        "driver": driver_version() if _on_gpu(device) else None,
        "cpu_in_place_of_gpus": not _on_gpu(device) and cpu_in_place_of_gpus() and bool(_visible()),
        "machine": platform.node(),
        "platform": platform.platform(),
    }


@cache
def harness_version() -> str:
    """The version of this harness, such as 0.2.0."""
    project = ROOT / "pyproject.toml"
    if project.is_file():  # what was installed from the checkout once may be of another version
        return str(tomllib.loads(project.read_text())["project"]["version"])
    return metadata.version(DISTRIBUTION)


def committed_file(commit: str, name: str) -> bytes | None:
    """A file of the checkout as it was in `commit`; None outside a checkout, or where git does not know them."""
    return _git("show", f"{commit}:{name}") if _COMMIT.fullmatch(commit) else None


def commit_day(commit: str) -> str | None:
    """The day of a commit in UTC, as 2026-01-31; None as for `committed_file`."""
    seconds = _git("show", "--no-patch", "--format=%ct", commit) if _COMMIT.fullmatch(commit) else None
    return None if seconds is None else f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d}"


def other_processes(device: str) -> list[int]:
    """The ids of other processes on the GPU that this process computes on; empty on the CPU.

    Memory figures measured beside them are not this process's alone. In a container the driver may list processes by
    ids that they do not know themselves: one of them is then this process, and all are returned if there are others.
    """
    gpu = _gpu(device)
    running = processes_on(gpu.uuid) if gpu else []
    if os.getpid() in running:
        return [process for process in running if process != os.getpid()]
    return running if len(running) > 1 else []


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


def _said(output: bytes | None) -> str | None:
    return None if output is None else output.decode().strip()


def _git(*arguments: str) -> bytes | None:
    """What git says about the checkout; None where there is none.

    Installed from a wheel, the package may lie inside the repository of somebody else's project, which git would find.
    """
    if not (ROOT / "pyproject.toml").is_file():
        return None
    return _output("git", "-C", str(ROOT), *arguments)


def _gpu(device: str) -> Gpu | None:
    """What the driver says of the GPU that torch calls 'cuda' or 'cuda:1'; None on the CPU."""
    number = int(device.partition(":")[2] or 0)
    return _visible()[number] if _on_gpu(device) and number < len(_visible()) else None


def _visible() -> list[Gpu]:
    """The GPUs of this process; none if the driver does not answer, which must not keep a record from being written."""
    try:
        return visible_gpus()
    except BenchError:
        return []


def _on_gpu(device: str) -> bool:
    return device.startswith("cuda")


def _output(*command: str) -> bytes | None:
    """What the command printed; None if it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _device_name(device: str) -> str:
    if (gpu := _gpu(device)) and gpu.model:
        return gpu.model
    if _on_gpu(device):
        import torch  # imported here, because Snakemake's main process reads records without it

        try:
            return str(torch.cuda.get_device_name(device))
        except Exception:  # of several classes, where CUDA does not work; its record is written all the same
            return "unknown"
    return _processor() or platform.processor() or platform.machine()


def _cpu_capability() -> str | None:
    # Whoever computes has imported it, and a report must not fail where it cannot be imported.
    torch = sys.modules.get("torch")
    return str(torch.backends.cpu.get_cpu_capability()) if torch else None


def _processor() -> str:
    """The processor's name from /proc/cpuinfo; empty on other systems than Linux."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
