"""Make a study's tables, figures and page from its records; nothing is trained, and torch is not imported."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from bench.analysis.footnotes import check_strict
from bench.analysis.page.index import write_index
from bench.analysis.results import Results, read_results, tidy
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.model import Table
from bench.analysis.tables.render import FORMATS
from bench.analysis.tables.study_tables import study_tables
from bench.analysis.tuning_frame import trial_frame
from bench.config.resolve import ResolvedStudy
from bench.files import write_atomic


def make_tables(study: ResolvedStudy, results: Path, *, strict: bool = False) -> list[Path]:
    """Write every table in every format to results/<study>/tables/, the tidy data frames and the index of all studies.

    Returns the files.

    Raises BenchError if no record can be read or, with `strict`, if the results come with a caution.
    """
    return write_tables(*read_tables(study, results, strict=strict))


def read_tables(study: ResolvedStudy, results: Path, *, strict: bool = False) -> tuple[Results, list[Table]]:
    """The study's results and its tables. Raises BenchError as `make_tables` does."""
    study_results = _read(study, results, strict)
    return study_results, study_tables(study_results, Comparer(study_results))


def write_tables(study_results: Results, tables: Iterable[Table]) -> list[Path]:
    """Write tables, data frames and index as `make_tables` does; return the files."""
    paths = study_results.paths
    files = []
    for table in tables:
        for suffix, render in FORMATS.items():
            file = paths.tables / f"{table.name}{suffix}"
            write_atomic(file, render(table).encode())
            files.append(file)
    frames = {paths.tidy: tidy(study_results)}
    if study_results.tuning.tuning is not None:
        frames[paths.tidy_trials] = trial_frame(study_results.tuning)
    for file, frame in frames.items():
        stream = io.BytesIO()
        frame.to_parquet(stream, index=False)
        write_atomic(file, stream.getvalue())
    return [*files, *frames, write_index(study_results)]


def make_figures(study: ResolvedStudy, results: Path, *, strict: bool = False) -> list[Path]:
    """Write every figure to results/<study>/figures/; return the files. Raises BenchError as `make_tables` does."""
    # Imported here, since tables alone do not need matplotlib.
    from bench.analysis.figures.study_figures import study_figures
    from bench.analysis.figures.style import save

    study_results = _read(study, results, strict)
    folder = study_results.paths.figures
    folder.mkdir(parents=True, exist_ok=True)  # for a study that has nothing to draw as well
    return [file for name, _, figure in study_figures(study_results) for file in save(figure, folder, name)]


def make_page(study: ResolvedStudy, results: Path, *, strict: bool = False) -> list[Path]:
    """Write results/<study>/report.html, which needs no other file. Raises BenchError as `make_tables` does."""
    from bench.analysis.page.page import page

    study_results = _read(study, results, strict)
    file = study_results.paths.page
    write_atomic(file, page(study_results).encode())
    write_index(study_results)  # again, since the index has a link to the page
    return [file]


def _read(study: ResolvedStudy, results: Path, strict: bool) -> Results:
    study_results = read_results(study, results)
    if strict:
        check_strict(study_results)
    return study_results
