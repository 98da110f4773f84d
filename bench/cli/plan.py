"""Every cell of a study with its parameters, bytes, predicted peak and time: at once, without weights."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from bench.cli.options import add_study, cache_of, study_of

if TYPE_CHECKING:
    from bench.estimate.tracing import Device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--json", action="store_true", help="one JSON list in place of a table")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="where training will run; default: a GPU if this machine has one"
    )


def run(args: argparse.Namespace) -> None:
    import torch

    from bench.config.peft_fields import check_peft_methods
    from bench.estimate.plan import plan
    from bench.estimate.plan_table import show_plan

    study = study_of(args)
    check_peft_methods(study.catalog, study.study.methods)
    device: Device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    rows = plan(study, device, results=args.results, cache=cache_of(args), mirror=args.mirror)
    print(json.dumps(rows, indent=1) if args.json else show_plan(rows))
