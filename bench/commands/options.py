"""The options that several commands share, with the same meaning everywhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.spec.library import WORKFLOW


def add_workflow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workflow", type=Path, default=WORKFLOW, metavar="DIR", help="folder of the YAML files")


def add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")


def add_study(parser: argparse.ArgumentParser) -> None:
    """STUDY, and what may be laid over it."""
    parser.add_argument("study", metavar="STUDY", help="name of a file in workflow/studies/")
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the study: recipe.epochs=1"
    )
    add_workflow(parser)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Where data and models come from, and where they are kept once prepared."""
    parser.add_argument("--mirror", type=Path, metavar="DIR", help="read data sets and models here, not from the hub")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="prepared data and models; default: RESULTS/cache")


def cache_of(args: argparse.Namespace) -> Path:
    cache: Path | None = args.cache
    return cache if cache is not None else args.results / "cache"
