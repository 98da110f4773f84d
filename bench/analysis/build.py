"""Make a study's tables, figures and page again from its records."""

from __future__ import annotations

import io
from pathlib import Path

from bench.analysis.footnotes import check_strict
from bench.analysis.results import Results, read_results, tidy
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.all_tables import tables
from bench.analysis.tables.render import FORMATS
from bench.config.resolve import ResolvedStudy
from bench.files import write_atomic


def make_tables(study: ResolvedStudy, results: Path, *, strict: bool = False) -> list[Path]:
    """Write results/<study>/tables/ in every format, and the tidy frame beside them; the files. Raises BenchError."""
    read = _read(study, results, strict)
    folder = read.paths.tables
    files = []
    for table in tables(read, Comparer(read)):
        for suffix, render in FORMATS.items():
            files.append(folder / f"{table.name}{suffix}")
            write_atomic(files[-1], render(table).encode())
    stream = io.BytesIO()
    tidy(read).to_parquet(stream, index=False)
    write_atomic(read.paths.tidy, stream.getvalue())
    return [*files, read.paths.tidy]


def make_figures(study: ResolvedStudy, results: Path, *, strict: bool = False) -> list[Path]:
    """Write results/<study>/figures/; the files. Raises BenchError."""
    from bench.analysis.figures.all_figures import figures
    from bench.analysis.figures.style import save

    read = _read(study, results, strict)
    folder = read.paths.figures
    folder.mkdir(parents=True, exist_ok=True)  # a study may have nothing to draw
    return [file for name, _, figure in figures(read) for file in save(figure, folder, name)]


def make_page(study: ResolvedStudy, results: Path, *, strict: bool = False) -> list[Path]:
    """Write results/<study>/report.html, one file that needs no other; the file. Raises BenchError."""
    from bench.analysis.page.page import page

    read = _read(study, results, strict)
    file = read.paths.page
    write_atomic(file, page(read).encode())
    return [file]


def _read(study: ResolvedStudy, results: Path, strict: bool) -> Results:
    read = read_results(study, results)
    if strict:
        check_strict(read)
    return read
