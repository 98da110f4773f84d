"""bench compare"""

from __future__ import annotations

import math
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from bench.errors import BenchError
from bench.files import write_atomic
from bench.pipeline.folders import check_writable

if TYPE_CHECKING:
    from bench.analysis.compare.report import Report
    from bench.analysis.compare.sides import Side

WORSE = 1  # the exit code of --fail-over
BUNDLE = ".zip"
WIDTH = 120  # columns where no terminal says how many it has


@click.command(short_help="Compare the records of two runs: commits, machines, versions, settings.")
@click.argument("first", type=click.Path(path_type=Path), metavar="A")
@click.argument("second", type=click.Path(path_type=Path), metavar="B")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="write .md or .html")
@click.option(
    "--fail-over",
    "limit",
    type=click.FloatRange(min=0),
    metavar="POINTS",
    help="exit code 1 if B is worse by more, with an interval without zero",
)
def compare(first: Path, second: Path, out: Path | None, limit: float | None) -> int:
    """Compare two folders of results, studies' folders or bundles, cell by cell and over tasks.

    A and B are paired by task, method, budget and seed, and their predictions by row. Shown are differences B − A with
    95% intervals, time and memory as ratios, which cells are the same bit for bit, which only one of them has, and what
    differs in their environments and specs.

    The exit code is 0; with --fail-over it is 1 if a method's score in B is worse than in A by more than so many points
    (of a perplexity: by so much) and the interval of the difference excludes zero, on a task or over tasks, or if a
    cell has a score in A and ended without one in B.
    """
    from bench.analysis.compare.report import drops, report_on, undecided
    from bench.analysis.compare.sides import paired

    if out is not None:
        if out.suffix not in (".md", ".html"):
            raise BenchError(f"--out {out}: expected a name that ends with .md or .html")
        check_writable("--out", out.parent)
    if limit is not None and math.isnan(limit):  # with which nothing is worse
        raise BenchError("--fail-over nan: expected a number of points")
    with ExitStack() as stack:
        report = report_on(paired(_side(first, stack), _side(second, stack)))
    if out is None:
        _show(report)
    else:
        text = report.markdown() if out.suffix == ".md" else report.html()
        write_atomic(out, text.encode(errors="backslashreplace"))  # the names of A and B may be no UTF-8
        print(out)
    if limit is None:
        return 0
    unknown, found = undecided(report), drops(report, limit)
    if not found and len(unknown) == len(report.groups):
        raise BenchError("--fail-over: nothing tells whether the two differ: no difference has an interval")
    if unknown:
        print(f"--fail-over: no interval, so not judged: {', '.join(unknown)}", file=sys.stderr)
    for line in found:
        print(f"worse than --fail-over {limit:g} allows: {line}", file=sys.stderr)
    return WORSE if found else 0


def _side(path: Path, stack: ExitStack) -> Side:
    """The folder or the bundle that the user named; a bundle is unpacked until `stack` closes."""
    from bench.analysis.compare.sides import Side

    if path.suffix.lower() == BUNDLE and path.is_file():
        from bench.publishing.bundles.verify import unpack

        folder = stack.enter_context(TemporaryDirectory(prefix="bench-bundle-"))
        return Side.at(unpack(path, Path(folder)), str(path))
    return Side.at(path)


def _show(report: Report) -> None:
    from rich.console import Console

    from bench.analysis.tables.terminal import show_tables

    for line in report.lines:
        print(line)
    print()
    show_tables(report.tables, Console(width=shutil.get_terminal_size((WIDTH, 0)).columns, highlight=False))
