"""Prepare what cells read, where it is not in the cache yet, or changed since it was prepared."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench.config.cell import Cell


def prepare_missing(cells: Sequence[Cell], mirror: Path | None, cache: Path) -> None:
    """Prepare the models and rows that `cells` read and that `cache` does not hold as they are now.

    This runs in a process of its own, so that the libraries which preparing imports count neither as start-up time nor
    as memory of a training that follows. Raises BenchError if a model or a data set is refused.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for cell in cells:
            pool.submit(prepare_cell, cell, mirror, cache).result()


def prepare_cell(cell: Cell, mirror: Path | None, cache: Path) -> None:
    """Prepare the model and the rows of one cell. Raises BenchError if one is refused."""
    from bench.inputs.backbones import prepare_backbone
    from bench.inputs.datasets import prepare_task
    from bench.inputs.tokenize import allowed_processors, use_processors

    use_processors(allowed_processors())
    prepare_backbone(cell.backbone, mirror=mirror, cache=cache)
    prepare_task(cell.task, cell.backbone, cell.data, mirror=mirror, cache=cache)
