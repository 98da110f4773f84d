"""What cells read from the cache, held against the files that it was prepared from.

Snakemake asks at its start, so no library that is slow to import is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.config.cell import Cell
from bench.errors import BenchError
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.origin import change_of_data, change_of_model
from bench.paths import MANIFEST, WITHDRAWN


def outdated(cells: Sequence[Cell], mirror: Path | None, cache: Path, *, refresh: bool) -> dict[Path, str]:
    """What changed since it was prepared, by the prepared folder of each model and data set of `cells`.

    Sizes and times are compared; only where these differ is a file read. `refresh` as in `change_of_model`.
    """
    changes: dict[Path, str | None] = {}
    for cell in cells:
        model, data = _folders(cell, mirror, cache)
        if model not in changes:
            changes[model] = change_of_model(model, cell.backbone, mirror, refresh=refresh)
        if data not in changes:
            changes[data] = change_of_data(data, cell.task, cell.data, mirror, refresh=refresh)
    return {folder: change for folder, change in changes.items() if change is not None}


def check_current(cells: Sequence[Cell], mirror: Path | None, cache: Path) -> None:
    """Raises BenchError where a model or the rows of `cells` changed since they were prepared."""
    for folder, change in outdated(cells, mirror, cache, refresh=False).items():
        raise BenchError(f"{change} ({folder}): run `bench prepare STUDY`, then this again")


def withdraw_outdated(cells: Sequence[Cell], mirror: Path | None, cache: Path) -> dict[Path, str]:
    """Take back what changed since it was prepared: without its manifest a folder counts as not prepared.

    Returns what changed, by the prepared folder, and why of those that were withdrawn before and are not prepared yet.
    """
    changes = outdated(cells, mirror, cache, refresh=True)
    for folder in changes:
        (folder / MANIFEST).rename(folder / WITHDRAWN)
    for cell in cells:
        for folder in _folders(cell, mirror, cache):
            if (folder / WITHDRAWN).is_file() and not (folder / MANIFEST).is_file():
                changes.setdefault(folder, "it changed since it was prepared")
    return changes


def _folders(cell: Cell, mirror: Path | None, cache: Path) -> tuple[Path, Path]:
    model = backbone_folder(cell.backbone, mirror, cache)
    return model, data_folder(cell.task, cell.backbone, cell.data, mirror, cache)
