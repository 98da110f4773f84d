"""Every cell of a study with its adapter parameters, base bytes and optimizer bytes: at once, without weights."""

from __future__ import annotations

import argparse

from bench.commands.options import add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--json", action="store_true", help="one JSON list in place of a table")


def run(args: argparse.Namespace) -> None:
    from bench.accounting.plan import print_plan
    from bench.spec.resolve import load_study

    print_plan(load_study(args.study, args.set, args.workflow), as_json=args.json)
