"""What is done, queued, running, failed or missing in a study, cell by cell; on a cluster with Slurm's word on each."""

from __future__ import annotations

import argparse
from collections import Counter

from bench.cli.options import add_study, study_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--all", action="store_true", help="also list the cells that are done")
    parser.add_argument(
        "--rerun-failed", action="store_true", help="set records of failures aside: the next run trains those cells"
    )


def run(args: argparse.Namespace) -> None:
    from bench.pipeline.status import cell_states, set_failures_aside

    states = cell_states(study_of(args), args.results)
    for state in states:
        if args.all or state.name != "ok":
            print(f"{state.name:9} {state.cell.id}{': ' if state.detail else ''}{state.detail}")
    counts = Counter(state.name for state in states)
    print(f"{args.study}: {len(states)} cells: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
    if args.rerun_failed:
        kept = set_failures_aside(states, args.study, args.results)
        print(f"{len(kept)} records of failures set aside; the next run of Snakemake trains their cells again")
        for file in kept:
            print(f"  {file}")
