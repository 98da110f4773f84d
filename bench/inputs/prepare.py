"""Prepare what cells read, where it is not in the cache yet, or changed since it was prepared."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench.config.cell import Cell
from bench.inputs.cache_keys import backbone_folder


def prepare_missing(cells: Sequence[Cell], mirror: Path | None, cache: Path) -> None:
    """Prepare the models and rows that `cells` read and that `cache` does not hold as they are now.

    This runs in a process of its own, so that the libraries which preparing imports count neither as start-up time nor
    as memory of a training that follows. Raises BenchError if a model or a data set is refused.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for cell in cells:
            pool.submit(prepare_cell, cell, mirror, cache).result()


def check_readers(cells: Sequence[Cell], mirror: Path | None, cache: Path) -> list[bool]:
    """`bench.inputs.datasets.check_reader` of each cell, in a process of its own, whose memory is free afterwards."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return [pool.submit(_check_reader, cell, mirror, cache).result() for cell in cells]


def _check_reader(cell: Cell, mirror: Path | None, cache: Path) -> bool:
    from bench.inputs.datasets import check_reader
    from bench.inputs.reader import Reader

    atexit.register(os._exit, 0)  # taking the libraries apart at the end would read 100 MiB more of them into memory
    model = backbone_folder(cell.backbone, mirror, cache)
    return check_reader(cell.task, cell.backbone, Reader(model, model))


def prepare_cell(cell: Cell, mirror: Path | None, cache: Path) -> None:
    """Prepare the model and the rows of one cell. Raises BenchError if one is refused."""
    from bench.inputs.backbones import prepare_backbone
    from bench.inputs.datasets import prepare_task
    from bench.inputs.processors import allowed_processors, use_processors

    use_processors(allowed_processors())
    prepare_backbone(cell.backbone, mirror=mirror, cache=cache)
    prepare_task(cell.task, cell.backbone, cell.data, mirror=mirror, cache=cache)
