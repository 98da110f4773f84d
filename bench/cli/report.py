"""Make a study's tables, figures or page again from the records that exist. Trains nothing, imports no torch."""

from __future__ import annotations

import argparse

from bench.cli.options import add_study, study_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--strict", action="store_true", help="refuse records of mixed devices or environments")


def run(args: argparse.Namespace) -> None:
    from bench.analysis.build import make_figures, make_page, make_tables

    make = {"tables": make_tables, "figures": make_figures, "page": make_page}[args.command]
    for file in make(study_of(args), args.results, strict=args.strict):
        print(file)
