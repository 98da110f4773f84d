"""bench reproduce"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from bench.cli.options import FOLDER, cache_option, mirror_option, results_option, workflow_option
from bench.distributed import world_size
from bench.errors import BenchError
from bench.files import canonical_json, write_atomic
from bench.paths import default_cache
from bench.pipeline.folders import check_writable
from bench.pipeline.job import set_library_environment

if TYPE_CHECKING:
    from bench.reproduction.finding import Finding
    from bench.reproduction.run import Places

BUNDLE = ".zip"
WIDTH = 120  # columns where no terminal says how many it has


@click.command(short_help="Train a recorded cell again and compare it with its record.")
@click.argument("path", type=click.Path(path_type=Path), metavar="RECORD")
@click.option("--cells", type=click.IntRange(min=1), metavar="N", help="so many cells of a study; default: all")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="threads in place of the recorded number")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="all numbers"
)
@click.option("--into", type=FOLDER, hidden=True)  # for the processes of one cell: train into this folder
@results_option
@cache_option
@mirror_option
@workflow_option
def reproduce(
    path: Path,
    cells: int | None,
    threads: int | None,
    json_file: Path | None,
    into: Path | None,
    results: Path,
    cache: Path | None,
    mirror: Path | None,
    workflow: Path | None,
) -> int:
    """Train recorded cells again from their records alone, and say: the same bits, or what differs and how far.

    RECORD is a record.json, the folder of a cell or of a study (results/STUDY), or a bundle (.zip). Of a study --cells
    takes N cells, spread evenly over tasks and methods, the same ones each time. The spec in the record counts: no YAML
    file is read. The repetition goes to RESULTS/reproductions; the record and the files beside it stay as they are.

    The exit code is 0 for the same bits, 3 for other bits with a score within the spread of the recorded seeds, 4 for
    a score outside of it, 2 if the cell cannot be trained again: data or model are not those of the record, or it was
    edited. Of several cells it is the worst, in the order 4, 2, 3, 0.
    """
    from bench.reproduction.run import Places

    if mirror is not None and not mirror.is_dir():
        raise BenchError(f"--mirror {mirror}: no such folder")
    places = Places(results, cache or default_cache(results), mirror, workflow, threads)
    if world_size() > 1 and into is not None:
        return _train_launched(path, into, places)
    check_writable("results", results)
    check_writable("cache", places.cache)
    if json_file is not None:
        check_writable("--json", json_file.parent)
    if path.suffix.lower() != BUNDLE or path.is_dir():
        return _reproduce(path, cells, places, json_file)
    from bench.publishing.bundles.verify import unpack
    from bench.reproduction.recorded import only_study

    if not path.is_file():
        raise BenchError(f"{path}: there is no such file")
    with TemporaryDirectory(prefix="bench-bundle-") as folder:
        return _reproduce(only_study(unpack(path, Path(folder))), cells, places, json_file)


def _reproduce(path: Path, cells: int | None, places: Places, json_file: Path | None) -> int:
    from bench.reproduction.finding import worst
    from bench.reproduction.run import reproduce as findings_of

    files, left_out = _chosen(path, cells)
    for line in left_out:
        _say(line)

    def words(file: Path, out: Path) -> list[str]:
        """The command of one of several processes that train the cell of `file` into `out`."""
        given = ["--results", str(places.results), "--cache", str(places.cache)]
        given += ["--workflow", str(places.workflow)] if places.workflow else []
        given += ["--mirror", str(places.mirror)] if places.mirror else []
        given += ["--threads", str(places.threads)] if places.threads else []
        return ["reproduce", str(file), "--into", str(out), *given]

    findings = []
    for finding in findings_of(files, places, words, _say):
        findings.append(finding)
        _show(finding, alone=len(files) == 1)
        outcome = worst(findings)
        if json_file is not None:  # after each cell: what comes next may be interrupted
            content = {"outcome": outcome.name.lower(), "code": outcome.code, "cells": [f.as_json() for f in findings]}
            write_atomic(json_file, canonical_json({**content, "left_out": left_out}))
    if len(files) > 1:
        _show_table(findings)
    if len(files) == 1 and findings[0].cannot:
        raise BenchError(findings[0].cannot)
    return outcome.code


def _chosen(path: Path, cells: int | None) -> tuple[Sequence[Path], list[str]]:
    """The records to repeat, and a line for each of a study that has no result. Raises BenchError if none is left."""
    from bench.reproduction.recorded import evenly, record_files, without_result

    files = record_files(path)
    if files == [path] or path in (file.parent for file in files):
        if cells is not None:
            raise BenchError(f"--cells {cells}: {path} is one cell; it is for the folder of a study, or a bundle")
        return files, []
    left_out: list[str] = []
    order = evenly(files) if cells is not None else iter(files)
    chosen = list(islice((file for file in order if not without_result(file, left_out)), cells))
    if not chosen:
        raise BenchError(f"{path}: none of its {len(files)} records has a result that could be repeated")
    return chosen, left_out


def _train_launched(path: Path, out: Path, places: Places) -> int:
    """The work of one process of a cell with several."""
    from bench.reproduction.run import repetition_of
    from bench.reproduction.training import train_launched

    repetition = repetition_of(path, out, places)
    set_library_environment(repetition.cell.threads)
    train_launched(repetition)
    return 0


def _show(finding: Finding, *, alone: bool) -> None:
    """A cell that was trained again: all of it, or one of several in a line, which the table repeats."""
    from bench.reproduction.finding import details

    if not alone:
        _say(f"  {finding.outcome.value}" + (f": {finding.cannot}" if finding.cannot else ""))
        return
    if not finding.cannot:
        print(finding.name)
        for line in details(finding):
            print(f"  {line}")
        print(f"  files: {finding.folder}")


def _show_table(findings: Sequence[Finding]) -> None:
    from rich.console import Console

    from bench.analysis.tables.terminal import show_tables
    from bench.reproduction.table import reproduction_table

    console = Console(width=shutil.get_terminal_size((WIDTH, 0)).columns, highlight=False)
    show_tables([reproduction_table(findings)], console)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
