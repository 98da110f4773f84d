"""What jobs run on, by Snakemake's executor and the Slurm profile. Nothing is started to find out."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from bench.errors import BenchError
from bench.estimate.hardware import CPU, UNKNOWN_GPU, Hardware, hardware_here
from bench.nvml import cpu_in_place_of_gpus

VARIABLE = "BENCH_HARDWARE"  # what jobs run on, for the Snakemake inside them


def hardware_of_jobs(workflow: Any) -> Hardware:
    """What the jobs of Snakemake's `workflow` run on: this machine, or what the profile's `gpu_model` names.

    The Snakemake inside a job has the answer of the main one from the environment: both must say the same cores.
    """
    if not workflow.is_main_process:
        return Hardware(**json.loads(os.environ[VARIABLE])) if VARIABLE in os.environ else UNKNOWN_GPU
    hardware = _hardware_of_jobs(workflow)
    os.environ[VARIABLE] = json.dumps(asdict(hardware))
    return hardware


def _hardware_of_jobs(workflow: Any) -> Hardware:
    settings = workflow.resource_settings
    # While the Snakefile is read, Snakemake has not loaded its executor yet, and a dry run loads another one. Whoever
    # starts jobs elsewhere must say how many at once (`jobs:` of a profile), which are these nodes.
    if settings.nodes is None:
        return hardware_here()
    given = (settings.default_resources or {}).get("gpu_model")
    model = getattr(given, "raw", given)  # as it was written: Snakemake would evaluate it for each rule
    return _remote(_unquoted(model) if model else None)


def planned_hardware(device: str | None, profile: Path) -> Hardware | None:
    """What a plan is for. `device`: 'cuda', 'cpu', or None where nobody says.

    GPUs are those of this machine, else of the model that the Slurm profile names. None: no GPU is here, and nobody
    says where the cells will run.
    """
    if device == "cpu":
        return CPU
    here = hardware_here()
    if here.gpu:
        return here
    if device is None:
        return None
    return _remote(profile_resources(profile).get("gpu_model"))


def profile_resources(profile: Path) -> dict[str, str]:
    """The `default-resources` of a profile's file as text, without those that are empty.

    Nothing where it has none, or where there is no such file. Raises BenchError if they can't be read.
    """
    try:
        read: Any = yaml.safe_load(profile.read_text()) if profile.is_file() else None
    except (yaml.YAMLError, ValueError) as error:
        raise BenchError(f"{profile}: not valid YAML: {' '.join(str(error).split())}") from error
    resources = (read.get("default-resources") if isinstance(read, dict) else read) or {}
    if isinstance(resources, list) and all("=" in str(item) for item in resources):  # Snakemake takes "key=value" too
        resources = dict(str(item).split("=", 1) for item in resources)
    if not isinstance(resources, dict):
        raise BenchError(f"{profile}: default-resources: expected keys with values, such as gpu_model: a100")
    return {str(key): _unquoted(value) for key, value in resources.items() if value not in (None, "")}


def _unquoted(value: Any) -> str:
    """The value of a resource as Slurm gets it. One of digits alone, such as 3090, is a number in YAML."""
    return str(value).strip("\"' ")


def _remote(model: str | None) -> Hardware:
    slurm = shutil.which("sbatch") is not None
    if cpu_in_place_of_gpus():
        return Hardware(gpu=False, remote=True, slurm=slurm)
    return Hardware(gpu=True, model=model or None, remote=True, slurm=slurm)
