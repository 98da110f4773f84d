"""Make a study's tables, figures or page again from the records that exist. Trains nothing, imports no torch."""

from __future__ import annotations

import argparse

from bench.commands.options import add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--strict", action="store_true", help="refuse records of mixed devices or environments")


def run(args: argparse.Namespace) -> None:
    from bench.analysis.make import make_figures, make_page, make_tables
    from bench.spec.resolve import load_study

    make = {"tables": make_tables, "figures": make_figures, "page": make_page}[args.command]
    study = load_study(args.study, args.set, args.workflow)
    for file in make(study, args.results, strict=args.strict):
        print(file)
