"""How many cells share a GPU where the study leaves it to the predicted peaks: `cells_per_gpu: auto`.

Snakemake reads this module at every parse, so it imports neither torch nor pandas.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.config.cell import Cell
from bench.config.memory_size import bytes_of
from bench.config.resolve import ResolvedStudy
from bench.config.study import Study
from bench.errors import BenchError
from bench.estimate.card_memory import trainings_that_fit
from bench.estimate.declared_peaks import declared_peaks
from bench.estimate.gpu_classes import gpu_class
from bench.estimate.hardware import Hardware, as_multiplied
from bench.estimate.jobs import cores
from bench.estimate.tuning_cost import possible_cells
from bench.inputs.processors import allowed_processors
from bench.nvml import Gpu

BFLOAT16 = (8, 0)  # the first capability with products in bfloat16: Ampere
MOST_CELLS = 8  # more than these take turns on the GPU, and gain nothing


def sharing(
    study: ResolvedStudy, cells: Sequence[Cell], file: Path, attempt: int, attempts: int
) -> int | Callable[[Gpu], int]:
    """How many of `cells` may share a GPU in this attempt: a number, or what tells it of a GPU that is there.

    In the last of several attempts each has the GPU alone: memory that ran out until then for the others' sake says
    nothing about the cell.
    """
    if attempt == attempts > 1:
        return 1
    number = study.study.cells_per_gpu
    return partial(cells_on, study, cells, file) if number == "auto" else number


def cells_that_fit(
    study: ResolvedStudy, cells: Sequence[Cell], memory: int, file: Path, *, slow_at_bfloat16: bool = False
) -> int:
    """How many of `cells` may share a GPU with `memory` bytes: 1 to `MOST_CELLS`. The largest predicted peak decides.

    1 too where a peak can't be predicted. `file` keeps the peaks (`declared_peaks`).
    """
    peaks = declared_peaks(_possible(study, cells, slow_at_bfloat16), file).values()
    known = [peak for peak in peaks if peak is not None]
    if len(known) < len(peaks):
        return 1
    return max(1, min(MOST_CELLS, *(trainings_that_fit(peak, memory) for peak in known)))


def check_sharing(study: ResolvedStudy, cells: Sequence[Cell], hardware: Hardware, file: Path) -> None:
    """Predict the peaks of all `cells` together, if jobs on `hardware` need them to share GPUs.

    Raises BenchError if they do, and nothing tells the memory of the GPUs.
    """
    shares_alone = not hardware.slurm  # there single cells share nothing
    if study.study.cells_per_gpu == "auto" and hardware.gpu and (study.study.cells_per_job > 1 or shares_alone):
        memory_on(study.study, hardware)
        declared_peaks(_possible(study, cells, hardware.slow_at_bfloat16), file)


def _possible(study: ResolvedStudy, cells: Sequence[Cell], slow_at_bfloat16: bool) -> list[Cell]:
    possible = [each for cell in cells for each in possible_cells(study, cell)]
    return [as_multiplied(cell, slow_at_bfloat16=slow_at_bfloat16) for cell in possible]


def cells_in_job(study: ResolvedStudy, cells: Sequence[Cell], hardware: Hardware, file: Path) -> int:
    """How many of `cells`, which one job trains, run at the same time on the GPU of a job on `hardware`.

    Raises BenchError if that depends on the memory of the GPUs, and nothing tells it.
    """
    given = study.study.cells_per_gpu
    if not hardware.gpu:
        return 1
    if given != "auto":
        return min(given, len(cells))
    memory, slow = memory_on(study.study, hardware), hardware.slow_at_bfloat16
    number = min(len(cells), cells_that_fit(study, cells, memory, file, slow_at_bfloat16=slow))
    return number if hardware.remote else min(number, _fed(cells))


def cells_on(study: ResolvedStudy, cells: Sequence[Cell], file: Path, gpu: Gpu) -> int:
    """How many of `cells` may share `gpu`, which is there: no more than this process has cores for.

    A Slurm job was asked for with the cores of as many as `cells_in_job` said. Where nothing tells the memory of the
    GPU, they say what was decided then; outside of such a job, raises BenchError.
    """
    memory = _least(study.study, gpu.memory)
    if memory is None and "SLURM_CPUS_PER_TASK" in os.environ:
        return min(MOST_CELLS, _fed(cells))
    if memory is None:
        raise BenchError(_unknown(f"of GPU {gpu.uuid}, as its driver does not say"))
    slow = _slow_at_bfloat16(gpu)
    return min(_fed(cells), cells_that_fit(study, cells, memory, file, slow_at_bfloat16=slow))


def _slow_at_bfloat16(gpu: Gpu) -> bool:
    """As PyTorch says it of `gpu` (bench/models/precision.py)."""
    if gpu.capability is not None:
        return gpu.capability < BFLOAT16
    card = gpu_class(gpu.model) if gpu.model else None
    return card is not None and card.bfloat16 is None


def memory_on(study: Study, hardware: Hardware) -> int:
    """Bytes of a GPU of jobs on `hardware`: by the driver, else by the study, else by the class of the card.

    Where both driver and study say it, the smaller number counts. Raises BenchError if nothing tells.
    """
    memory = _least(study, hardware.memory)
    if memory is None and hardware.card is not None:
        memory = hardware.card.bytes
    if memory is None:
        of = f"of a GPU {hardware.model!r}, which is no class that is known" if hardware.model else "of the GPUs"
        raise BenchError(_unknown(of))
    return memory


def _least(study: Study, memory: int | None) -> int | None:
    said = None if study.gpu_memory is None else bytes_of(study.gpu_memory)
    return min((each for each in (said, memory) if each is not None), default=None)


def _unknown(of: str) -> str:
    return (
        f"cells_per_gpu is auto, but nothing tells the memory {of}: add gpu_memory: 40GiB to the study, with the size "
        "of yours, or name the GPUs by gpu_model in slurm/config.yaml"
    )


def _fed(cells: Sequence[Cell]) -> int:
    """How many of `cells` the processors that this process may use can feed; at least 1."""
    return max(1, allowed_processors() // max(map(cores, cells)))
