"""The self-check as a Slurm job, on a node with a GPU as the cells of a study get it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.pipeline.job_hardware import profile_resources

MINUTES = {False: 30, True: 90}  # by whether it goes deep: three times what it takes


def run_in_slurm(words: Sequence[str], profile: Path, *, deep: bool) -> int:
    """Run `bench selfcheck WORDS` by srun with one GPU, and return its exit code; its output comes here as it is made.

    Account, partition and model of the GPU are those of the Slurm profile, or else of Slurm's own variables
    (SLURM_ACCOUNT, SLURM_PARTITION). Raises BenchError where there is no srun.
    """
    if shutil.which("srun") is None:
        raise BenchError("--slurm: srun is not found: run it on a machine that submits to Slurm")
    command = ["srun", "--job-name=rankbench-selfcheck", "--nodes=1", "--ntasks=1", "--cpus-per-task=4", "--mem=16G"]
    command += [f"--time={MINUTES[deep]}", *_of_profile(profile)]
    return subprocess.run([*command, sys.executable, "-m", "bench.cli", "selfcheck", *words], check=False).returncode


def _of_profile(profile: Path) -> list[str]:
    """The options of srun for what the profile's default-resources say."""
    resources = profile_resources(profile)
    model = resources.get("gpu_model")
    options = [f"--gpus={model}:1" if model else "--gpus=1"]
    for key, option in (("slurm_account", "account"), ("slurm_partition", "partition")):
        if resources.get(key):
            options.append(f"--{option}={resources[key]}")
    return options
