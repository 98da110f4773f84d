"""bench tables, bench figures, bench page: views of the records that exist. They train nothing and import no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from bench.cli.options import study_options
from bench.pipeline.run_options import RunOptions

strict_option = click.option("--strict", is_flag=True, help="refuse records of mixed devices or environments")


@click.command()
@study_options
@strict_option
def tables(options: RunOptions, strict: bool) -> None:
    """Make a study's tables again from its records."""
    from bench.analysis.build import make_tables

    study = options.load_study()
    options.check_results()
    _print(make_tables(study, options.results, strict=strict))


@click.command()
@study_options
@strict_option
def figures(options: RunOptions, strict: bool) -> None:
    """Make a study's figures again from its records."""
    from bench.analysis.build import make_figures

    study = options.load_study()
    options.check_results()
    _print(make_figures(study, options.results, strict=strict))


@click.command()
@study_options
@strict_option
def page(options: RunOptions, strict: bool) -> None:
    """Make a study's page again from its records."""
    from bench.analysis.build import make_page

    study = options.load_study()
    options.check_results()
    _print(make_page(study, options.results, strict=strict))


def _print(files: Iterable[Path]) -> None:
    for file in files:
        print(file)
