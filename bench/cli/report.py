"""bench tables, bench figures, bench page: views of the records that exist. They train nothing and import no torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import click

from bench.cli.options import study_options
from bench.config.renamed import suggestion
from bench.errors import BenchError
from bench.pipeline.run_options import RunOptions

ALL = "all"  # no table has this name
WIDTH = 120  # columns where no terminal says how many it has
strict_option = click.option(
    "--strict",
    is_flag=True,
    help="refuse results that come with a caution: generated rows, mixed devices or environments, unequal budgets, ...",
)


@click.command()
@study_options
@strict_option
@click.option(
    "--show", metavar="[TABLE]", is_flag=False, flag_value=ALL, help="print that table, or all, not the files' names"
)
def tables(options: RunOptions, strict: bool, show: str | None) -> None:
    """Make a study's tables again from its records."""
    from bench.analysis.build import read_tables, write_tables

    study = options.load_study()
    options.check_results()
    results, made = read_tables(study, options.results, strict=strict)
    chosen = made if show in (None, ALL) else [table for table in made if table.name == show]
    if not chosen:
        names = [table.name for table in made]
        raise BenchError(f"--show {show}: study {study.name!r} has no such table{suggestion(show or '', names)}")
    files = write_tables(results, made)
    if show is None:
        _print(files)
        return
    # Imported here, since the other commands do not need them.
    from rich.console import Console

    from bench.analysis.tables.terminal import show_tables

    show_tables(chosen, Console(width=shutil.get_terminal_size((WIDTH, 0)).columns, highlight=False))


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
