"""The options that every command on a study understands, with the same meaning everywhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config.catalog import WORKFLOW
from bench.errors import BenchError
from bench.paths import RESULTS, default_cache

if TYPE_CHECKING:
    from bench.config.resolve import ResolvedStudy


def add_workflow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workflow", type=Path, default=WORKFLOW, metavar="DIR", help="folder of the YAML files")


def add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="name of a file in workflow/studies/")
    add_places(parser)


def add_places(parser: argparse.ArgumentParser) -> None:
    """Where things are read and written, and what is laid over the study."""
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default: results")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="prepared data and models; default: RESULTS/cache")
    parser.add_argument("--mirror", type=Path, metavar="DIR", help="read data sets and models here, not from the hub")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the study: recipe.epochs=1"
    )
    add_workflow(parser)


def add_tries(parser: argparse.ArgumentParser) -> None:
    """How the pipeline's jobs train: without a network, and knowing whether there will be another try."""
    parser.add_argument("--offline", action="store_true", help="prepare nothing")
    parser.add_argument("--attempt", type=int, default=1, metavar="N", help="which try this is")
    parser.add_argument("--attempts", type=int, default=1, metavar="N", help="how many tries there are")
    add_places(parser)


def study_of(args: argparse.Namespace, *, reads: bool = False) -> ResolvedStudy:
    """The study that `args` name, with the cells that the pipeline has for the same choices. `reads`: rows are wanted,
    not records alone. Raises BenchError."""
    from bench.config.resolve import load_study

    study = load_study(args.study, args.set, args.workflow)
    if reads and args.mirror is None and study.study.data == "mirror":
        raise BenchError(f"study {study.name!r} reads a mirror folder: add --mirror DIR")
    if args.mirror is not None and study.study.data == "embedded":  # who names a mirror asks for real rows
        return load_study(args.study, [*args.set, "data=hub"], args.workflow)
    return study


def cache_of(args: argparse.Namespace) -> Path:
    cache: Path | None = args.cache
    return cache if cache is not None else default_cache(args.results)
