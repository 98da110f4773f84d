"""Which cells of a study fit on a GPU, and the accumulation at which all cells of a task do.

All methods of a task get the same accumulation, so that only the method differs between its cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.cell import Cell
from bench.config.memory_size import bytes_of
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError
from bench.estimate.card_memory import CONTEXT, MIB, PIECES, fits
from bench.estimate.hardware import UNKNOWN_GPU, Hardware, as_multiplied
from bench.estimate.memory import predict_peak
from bench.estimate.parameters import Unpredictable, predict_parameters
from bench.estimate.plan import largest_batch, prepared_lengths
from bench.estimate.tuning_cost import planning_key, possible_cells
from bench.paths import RESULTS, default_cache

GIB = 2**30


@dataclass(frozen=True)
class TaskFit:
    """How the cells of a task fit: their number, how many fit as they are, and the largest predicted peak in bytes.

    accumulation: at which all of them fit, theirs if they do already; None if not even single rows do. unknown: cells
    whose peak can't be predicted, which count in neither.
    """

    task: str
    cells: int
    fitting: int
    peak: int
    now: int
    accumulation: int | None
    unknown: int = 0


def parse_memory(text: str) -> int:
    """Bytes of '40GiB', '24 GB' or '16384MiB'. Raises BenchError."""
    try:
        return bytes_of(text)
    except ValueError as error:
        raise BenchError(f"--gpu-memory {text}: {error}") from None


def task_fits(
    study: ResolvedStudy,
    memory: int,
    *,
    results: Path = RESULTS,
    cache: Path | None = None,
    mirror: Path | None = None,
    hardware: Hardware = UNKNOWN_GPU,
) -> list[TaskFit]:
    """Each task of `study` on a GPU with `memory` bytes, in the order of the study. `hardware`: what is known of it."""
    by_task: dict[str, list[Cell]] = {}
    for cell in (*study.cells, *(trial for trials in study.trials.values() for trial in trials)):
        by_task.setdefault(cell.task.name, []).append(cell)
    place = (mirror, cache or default_cache(results))
    slow = hardware.slow_at_bfloat16
    return [_task_fit(task, cells, study, memory, place, slow) for task, cells in by_task.items()]


def _task_fit(
    task: str, cells: Sequence[Cell], study: ResolvedStudy, memory: int, place: tuple[Path | None, Path], slow: bool
) -> TaskFit:
    # Cells that differ in seed alone have one peak.
    distinct: dict[str, Cell] = {}
    peaks: dict[str, int | None] = {}
    needed: list[list[str]] = []
    for cell in cells:
        possible = [as_multiplied(one, slow_at_bfloat16=slow) for one in possible_cells(study, cell)]
        needed.append([planning_key(one) for one in possible])
        distinct |= {planning_key(one): one for one in possible}
    for key, cell in distinct.items():
        peaks[key] = _peak(cell, cell.recipe.accumulation, place)
    known = [[peak for key in keys if (peak := peaks[key]) is not None] for keys in needed]
    largest = max((peak for some in known for peak in some), default=0)
    now = max(cell.recipe.accumulation for cell in distinct.values())
    too_large = [cell for key, cell in distinct.items() if (peak := peaks[key]) is not None and not fits(peak, memory)]
    return TaskFit(
        task=task,
        cells=len(cells),
        fitting=sum(bool(some) and fits(max(some), memory) for some in known),
        peak=largest,
        now=now,
        accumulation=_accumulation(now, too_large, list(distinct.values()), memory, place),
        unknown=sum(not some for some in known),
    )


def _accumulation(
    now: int, too_large: list[Cell], cells: Sequence[Cell], memory: int, place: tuple[Path | None, Path]
) -> int | None:
    """The smallest accumulation from `now` on that every recipe of `cells` allows and at which all of them fit."""
    smallest = min(cell.recipe.batch_size // cell.recipe.processes for cell in cells)
    for accumulation in range(now, smallest + 1):
        if any(cell.recipe.batch_size % (accumulation * cell.recipe.processes) for cell in cells):
            continue
        # A smaller micro-batch takes less: what fitted before fits still.
        too_large = [
            cell
            for cell in too_large
            if (peak := _peak(cell, accumulation, place)) is not None and not fits(peak, memory)
        ]
        if not too_large:
            return accumulation
    return None


def _peak(cell: Cell, accumulation: int, place: tuple[Path | None, Path]) -> int | None:
    """The predicted peak on a GPU with that accumulation; None where it can't be predicted."""
    recipe = cell.recipe.model_copy(update={"accumulation": accumulation})
    cell = cell.model_copy(update={"recipe": recipe})
    try:
        predicted = predict_parameters(cell)
        return predict_peak(cell, predicted, largest_batch(cell, prepared_lengths(cell, *place)), "cuda").total
    except Unpredictable:
        return None


def show_fits(found: Sequence[TaskFit], memory: int) -> str:
    """What fits, and the lines of a study's file that make all cells fit."""
    cells, fitting = (sum(getattr(task, name) for task in found) for name in ("cells", "fitting"))
    unknown = sum(task.unknown for task in found)
    lines = [
        f"on a GPU of {memory / GIB:.1f} GiB: {fitting} of {cells} cells fit"
        + (f", of {unknown} it is not known" if unknown else "")
        + f" (predicted peak times {PIECES}, and {CONTEXT / MIB:.0f} MiB for CUDA)"
    ]
    for task in found:
        if task.fitting + task.unknown == task.cells:
            continue
        too_large = task.cells - task.fitting - task.unknown
        what = f"  {task.task}: {too_large} cells too large, up to {task.peak / MIB:,.0f} MiB; "
        if task.accumulation is None:
            lines.append(what + "not even one row at a time fits: try gradient_checkpointing: true, or nf4 alone")
        else:
            lines.append(what + f"all fit with accumulation {task.accumulation}, now {task.now}")
    changes = [task for task in found if task.accumulation not in (None, task.now)]
    if changes:
        lines += ["  in the study's file, for every method of the task alike:", "overrides:"]
        lines += [f"  {task.task}: {{recipe: {{accumulation: {task.accumulation}}}}}" for task in changes]
    return "\n".join(lines)
