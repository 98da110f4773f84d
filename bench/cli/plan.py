"""bench plan"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from bench.cli.options import study_options

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
def plan(options: RunOptions, as_json: bool, device: Device | None) -> None:
    """Show every cell of a study with its parameters, bytes, predicted peak and time: at once, without weights."""
    import torch

    from bench.config.peft_fields import check_peft_methods
    from bench.estimate.model_fit import check_fit
    from bench.estimate.plan import plan as plan_study
    from bench.estimate.plan_table import show_plan

    options.check_mirror()
    study = options.load_study()
    check_peft_methods(study.catalog, study.methods)
    check_fit(study)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    rows = plan_study(study, device, results=options.results, cache=options.cache_folder, mirror=options.mirror)
    print(json.dumps(rows, indent=1) if as_json else show_plan(rows))
