"""bench plan"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from bench.cli.options import study_options
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.estimate.tracing import Device
    from bench.pipeline.run_options import RunOptions


@click.command(short_help="Show what every cell of a study will hold and take; needs no weights.")
@study_options
@click.option("--json", "as_json", is_flag=True, help="one JSON list in place of a table")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="where training will run; default: a GPU if this machine has one",
)
@click.option(
    "--gpu-memory",
    "memory",
    metavar="SIZE",
    help="say which cells fit on a GPU of that size, such as 40GiB, and the accumulation at which all do",
)
def plan(options: RunOptions, as_json: bool, device: Device | None, memory: str | None) -> None:
    """Show every cell of a study with its parameters, bytes, predicted peak and time: at once, without weights."""
    import torch

    from bench.config.peft_fields import check_peft_methods
    from bench.estimate.card_memory import fits
    from bench.estimate.gpu_memory import parse_memory, show_fits, task_fits
    from bench.estimate.hardware import UNKNOWN_GPU
    from bench.estimate.model_fit import check_fit
    from bench.estimate.plan import plan as plan_study
    from bench.estimate.plan_table import show_plan
    from bench.paths import SLURM_PROFILE
    from bench.pipeline.job_hardware import planned_hardware

    options.check_mirror()
    study = options.load_study()
    check_peft_methods(study.catalog, study.methods)
    check_fit(study)
    size = None if memory is None else parse_memory(memory)
    if size is not None and device == "cpu":
        raise BenchError("--gpu-memory: is of a GPU, and --device is cpu")
    hardware = planned_hardware("cuda" if size is not None else device, SLURM_PROFILE)
    has_gpu = hardware.gpu if hardware else torch.cuda.is_available()  # PyTorch knows some that NVML does not: AMD's
    device = device or ("cuda" if size is not None or has_gpu else "cpu")
    results, cache, mirror = options.results, options.cache_folder, options.mirror
    rows = plan_study(study, device, results=results, cache=cache, mirror=mirror, hardware=hardware)
    if size is None:
        print(json.dumps(rows, indent=1) if as_json else show_plan(rows))
        return
    known = hardware or UNKNOWN_GPU
    found = task_fits(study, size, results=results, cache=cache, mirror=mirror, hardware=known)
    if as_json:
        by_task = {task.task: task.accumulation for task in found}
        for row in rows:
            peak = row["predicted_peak"].get("total_bytes")
            row["fits"] = None if peak is None else fits(peak, size)
            row["accumulation_that_fits"] = by_task[row["cell"].split("/")[0]]
        print(json.dumps(rows, indent=1))
        return
    print(show_plan(rows), show_fits(found, size), sep="\n")
