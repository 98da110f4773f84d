"""Which records there are: of all studies, of a study's cells, and of the seeds beside one."""

from __future__ import annotations

from pathlib import Path

from bench.paths import CellPaths, StudyPaths, cell_id, trial_id


def all_records(results: Path) -> list[Path]:
    """The records of every cell and trial of every study below `results`, sorted by path."""
    names = (cell_id("*", "*", "*", "*"), trial_id("*", "*", "*", "*", "*"))
    patterns = (StudyPaths(Path(), "*").cell(name).record for name in names)
    return sorted(file for pattern in patterns for file in results.glob(pattern.as_posix()))


def cell_records(paths: StudyPaths) -> list[Path]:
    """The records of the study's cells, without its trials, sorted by path."""
    return sorted(paths.cells.glob(CellPaths(Path(cell_id("*", "*", "*", "*"))).record.as_posix()))


def seeds_beside(paths: CellPaths) -> list[Path]:
    """The records of the cells that differ from this one in the seed alone, and its own, sorted by path."""
    seed = Path(cell_id("", "", "", "*")).name
    folder = paths.folder
    if folder.name in ("", ".."):  # of `.` and `..`, the folder above is no part of the path
        folder = folder.resolve()
    return sorted(folder.parent.glob(CellPaths(Path(seed)).record.as_posix()))
