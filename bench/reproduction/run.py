"""Train recorded cells again, one after another, and compare each with its record."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.cell import Cell, spec_hash_of
from bench.errors import BenchError, TransientError
from bench.files import canonical_json, write_atomic
from bench.nvml import visible_gpus
from bench.paths import REPRODUCTION, CellPaths, reproduction_folder
from bench.pipeline.gpus import hold_gpus
from bench.pipeline.job import set_library_environment
from bench.records.differences import environment_differences
from bench.records.io import read_record
from bench.records.schema import Record
from bench.reproduction.comparison import compare
from bench.reproduction.finding import Finding
from bench.reproduction.inputs import cell_of, same_inputs
from bench.reproduction.recorded import WITHOUT_RESULT, Recorded, check_has_result, read_recorded
from bench.reproduction.spread import Spread, recorded_spread
from bench.reproduction.training import Repetition, train_all


@dataclass(frozen=True)
class Places:
    """Where cells are trained again, and from what.

    workflow: only asked for the files that a task names; None: see `workflow_folders`.
    threads: in place of those in the records; None: as recorded.
    """

    results: Path
    cache: Path
    mirror: Path | None
    workflow: Path | None
    threads: int | None = None


@dataclass(frozen=True)
class Planned:
    """A cell that can be trained again: its inputs are those of the record."""

    recorded: Recorded
    cell: Cell
    spread: Spread | None
    repetition: Repetition


def plan(file: Path, places: Places) -> Planned:
    """Read the record in `file`, and prepare what its training reads. Nothing is trained yet.

    Raises BenchError that says why it can't be trained again: see `read_recorded`, `cell_of` and `same_inputs`.
    """
    recorded = read_recorded(file)
    check_has_result(recorded)
    cell = cell_of(recorded, places.workflow, places.mirror, places.threads)
    spread = recorded_spread(recorded, cell.task)
    same_inputs(cell, recorded, places.cache, places.mirror)
    out = _free_folder(places.results, f"{cell.study}/{cell.id}")
    repetition = _repetition(recorded, cell, out, places)
    here = len(visible_gpus()) if repetition.gpus else 0
    if 0 < here < repetition.gpus:
        raise BenchError(f"{recorded.name}: asks for {repetition.gpus} GPUs, here is {here}")
    return Planned(recorded, cell, spread, repetition)


def _free_folder(results: Path, name: str) -> Path:
    """The first folder of the cell's repetitions without a comparison: one that was interrupted goes on there."""
    folders = (reproduction_folder(results, name, number) for number in itertools.count(1))
    return next(folder for folder in folders if not (folder / REPRODUCTION).exists())


def repetition_of(file: Path, out: Path, places: Places) -> Repetition:
    """The training of the record in `file` into `out`, whose inputs are prepared. Raises BenchError as `plan` does."""
    recorded = read_recorded(file)
    return _repetition(recorded, cell_of(recorded, places.workflow, places.mirror, places.threads), out, places)


def _repetition(recorded: Recorded, cell: Cell, out: Path, places: Places) -> Repetition:
    training, device = recorded.record.training, recorded.record.environment.get("device")
    return Repetition(
        cell=cell,
        out=out,
        cache=places.cache,
        mirror=places.mirror,
        on_cpu=device == "cpu",
        rung=training.stopped_at_rung if training else None,
    )


def reproduce(
    files: Sequence[Path], places: Places, words: Callable[[Path, Path], list[str]], told: Callable[[str], None]
) -> Iterator[Finding]:
    """Train the cell of each record in `files` again; yield what came of it, in their order.

    All inputs are prepared first, since the trainings use no network. words: those after `bench` that make this process
    one of several that train the cell of a record (a file) into a folder. told: gets a line before each training.

    Raises TransientError after a signal; the same command goes on.
    """
    plans = {file: _planned(file, places) for file in files}
    ready = [planned for planned in plans.values() if isinstance(planned, Planned)]
    if ready:
        set_library_environment(ready[0].cell.threads)  # every training settles its own number of threads besides
    with hold_gpus(max((planned.repetition.gpus for planned in ready), default=0)) as held:
        for number, (file, planned) in enumerate(plans.items(), start=1):
            if isinstance(planned, Finding):
                yield planned
                continue
            alone = planned.cell.recipe.processes == 1
            log = f" (its log: {planned.repetition.log})" if alone else ""
            told(f"{number} of {len(plans)}: {planned.recorded.name}, training{log}")
            yield _finding(planned, held, lambda out, file=file: words(file, out))  # type: ignore[misc]


def _planned(file: Path, places: Places) -> Planned | Finding:
    try:
        return plan(file, places)
    except BenchError as error:
        return Finding(str(file), file, str(error))


def _finding(planned: Planned, held: list[str], words: Callable[[Path], list[str]]) -> Finding:
    recorded, out = planned.recorded, CellPaths(planned.repetition.out)
    began = time.monotonic()
    try:
        train_all(planned.repetition, words, held)
        repeated = read_record(out.record)
    except TransientError:
        raise
    except BenchError as error:
        return Finding(recorded.name, recorded.file, str(error), folder=out.folder)
    finding = _compared(planned, repeated, out, time.monotonic() - began)
    write_atomic(out.folder / REPRODUCTION, canonical_json(finding.as_json()))
    return finding


def _compared(planned: Planned, repeated: Record, out: CellPaths, seconds: float) -> Finding:
    recorded, record = planned.recorded, planned.recorded.record
    if repeated.status in WITHOUT_RESULT:
        why = f"{recorded.name}: the training ended with status {repeated.status!r} here: {repeated.message}"
        return Finding(recorded.name, recorded.file, why, folder=out.folder, seconds=seconds)
    return Finding(
        name=recorded.name,
        record=recorded.file,
        metric=record.reported.metric if record.reported else planned.cell.task.metric,
        comparison=compare(planned.cell.task, record, recorded.paths, repeated, out, planned.spread),
        environment=environment_differences(record, repeated),
        notes=tuple(_notes(planned, repeated)),
        folder=out.folder,
        seconds=seconds,
    )


def _notes(planned: Planned, repeated: Record) -> Iterator[str]:
    cell, record = planned.cell, planned.recorded.record
    recorded_threads = record.spec.get("threads", 1)
    if cell.threads != recorded_threads:
        yield f"trained with {cell.threads} threads, recorded with {recorded_threads}"
    elif cell.corrections and spec_hash_of(record.spec) == record.cell.spec_hash:  # recorded before them
        yield f"this version may train this spec otherwise than the record's: {'; '.join(cell.corrections)}"
    if record.environment.get("dirty"):
        yield "recorded with uncommitted changes in the code"
    if record.training and len(record.training.devices) > 1:
        yield f"recorded on several devices: {', '.join(record.training.devices)}"
    if repeated.training and repeated.training.resumed_at:
        steps = ", ".join(map(str, repeated.training.resumed_at))
        yield f"the repetition was interrupted and went on at step {steps}"
