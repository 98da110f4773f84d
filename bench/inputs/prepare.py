"""Prepare what cells read, where it is not in the cache yet."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench.config.cell import Cell
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.paths import MANIFEST


def prepare_missing(cells: Sequence[Cell], mirror: Path | None, cache: Path) -> None:
    """Prepare the models and rows that `cells` read and that `cache` does not hold yet.

    This runs in a process of its own, so that the libraries which preparing imports count neither as start-up time nor
    as memory of a training that follows. Raises BenchError if a model or a data set is refused.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for cell in cells:
            pool.submit(_prepare_cell, cell, mirror, cache).result()


def _prepare_cell(cell: Cell, mirror: Path | None, cache: Path) -> None:
    if not (backbone_folder(cell.backbone, mirror, cache) / MANIFEST).is_file():
        from bench.inputs.backbones import prepare_backbone

        prepare_backbone(cell.backbone, mirror=mirror, cache=cache)
    if not (data_folder(cell.task, cell.backbone, cell.data, mirror, cache) / MANIFEST).is_file():
        from bench.inputs.datasets import prepare_task

        prepare_task(cell.task, cell.backbone, cell.data, mirror=mirror, cache=cache)
