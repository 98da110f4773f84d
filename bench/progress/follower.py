"""Finds out where a run is: from records, from leases, from curves that are being written, and from the jobs.

Almost all of it is files, so it works beside the pipeline and from another terminal or node alike.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from bench.config.cell import Cell
from bench.lease import is_held
from bench.paths import CURVE, RECORD
from bench.pipeline.study import Pipeline
from bench.progress.curve_tail import CurveTail
from bench.progress.forecast import Forecasts, rest
from bench.progress.jobs import FailuresInLogs, SlurmQueue, SnakemakeJobs, first_line, starting
from bench.progress.records_read import Recorded, RecordsRead
from bench.progress.specs import SpecHashes
from bench.progress.state import CellProgress, Snapshot, Stage


class Follower:
    """Follows the cells of `pipeline`; `poll` says where they are.

    snakemake: the jobs of this process, which is the pipeline's. None: another process runs the pipeline, so what
    failed is read in the logs.
    """

    def __init__(self, pipeline: Pipeline, snakemake: SnakemakeJobs | None = None) -> None:
        self._pipeline, self._snakemake = pipeline, snakemake
        self._cells: tuple[Cell, ...] = (*pipeline.trials, *pipeline.cells)
        self._folders = {cell.id: pipeline.paths.cell(cell.id).folder for cell in self._cells}
        self._specs = SpecHashes(pipeline)
        self._records, self._forecasts = RecordsRead(), Forecasts(pipeline)
        self._queue, self._logs = SlurmQueue(pipeline), FailuresInLogs(pipeline)
        self._curves: dict[str, CurveTail] = {}

    def poll(self) -> Snapshot:
        """Where every cell is now. It looks at two files per cell, and reads those that changed."""
        self._queue.refresh()
        recorded = self._recorded()
        running = {name for name, folder in self._folders.items() if is_held(folder)}
        # The next attempt at a cell begins anew: the hours between two attempts are none of its steps.
        self._curves = {name: curve for name, curve in self._curves.items() if name in running}
        jobs = [*(self._snakemake.here if self._snakemake else ()), *self._queue.running]
        about_to = starting(jobs, running, recorded)
        places = self._checkpoints() if running else {}
        found: list[CellProgress] = []
        for cell in self._cells:
            if cell.id in running:
                found.append(self._running(cell, places))
            elif cell.id in recorded:
                found.append(self._of_record(cell, recorded[cell.id]))
            elif cell.id in about_to:
                found.append(_at(cell, "starting"))
            else:
                found.append(self._idle(cell))
        left, unknown = rest(self._cells, found, self._forecasts)
        clock = time.strftime("%H:%M:%S")
        return Snapshot(self._pipeline.study.name, tuple(found), self._doing(), left, unknown, clock)

    def _recorded(self) -> dict[str, Recorded]:
        """The records of today's specs, as far as these are known."""
        read = {name: self._records.read(folder / RECORD) for name, folder in self._folders.items()}
        found = {name: recorded for name, recorded in read.items() if recorded is not None}
        self._forecasts.use(self._records)
        hashes = self._specs.known(found)
        return {name: recorded for name, recorded in found.items() if recorded.spec_hash == hashes[name]}

    def _of_record(self, cell: Cell, recorded: Recorded) -> CellProgress:
        if recorded.status == "ok":
            return _at(cell, "done", result=recorded.result, seconds=recorded.seconds)
        first = first_line(recorded.message)
        message = f"{recorded.status}: {first}" if first else recorded.status
        return _at(cell, "failed", message=message, log=str(self._pipeline.paths.log(cell.id)))

    def _idle(self, cell: Cell) -> CellProgress:
        job = self._queue.jobs.get(cell.id)
        if job is not None:
            return _at(cell, "waiting") if job.state == "RUNNING" else _at(cell, "queued", message=str(job))
        failure = self._snakemake.failures.get(cell.id) if self._snakemake else self._logs.of(cell)
        if failure is None:
            return _at(cell, "waiting")
        return _at(cell, "failed", message=failure.message, log=str(failure.log))

    def _running(self, cell: Cell, places: dict[str, Path]) -> CellProgress:
        place = places.get(self._pipeline.cache.place_key(self._folders[cell.id]))
        if place is None:  # it loads its libraries and the model
            return _at(cell, "starting")
        curve = self._curves.get(cell.id)
        if curve is None or curve.file.parent != place:
            curve = self._curves[cell.id] = CurveTail(place / CURVE)
        curve.update()
        rank = cell.budget.rank if cell.method.lean else None
        return _at(
            cell,
            "running",
            step=curve.step,
            steps=self._forecasts.steps(cell),
            loss=curve.loss,
            ranks=sum(curve.ranks) if curve.ranks else None,
            cap=int(rank * len(curve.ranks)) if rank and curve.ranks else None,
            left=self._forecasts.left(cell, curve),
        )

    def _checkpoints(self) -> dict[str, Path]:
        """By `CachePaths.place_key`, the newest folder of checkpoints."""
        found: dict[str, tuple[int, Path]] = {}
        try:
            entries = list(os.scandir(self._pipeline.cache.all_checkpoints))
        except OSError:
            return {}
        for entry in entries:
            key = entry.name.rpartition("-")[2]
            try:
                changed = entry.stat().st_mtime_ns
            except OSError:  # its cell was recorded in the meantime
                continue
            if key not in found or changed > found[key][0]:
                found[key] = (changed, Path(entry.path))
        return {key: path for key, (_, path) in found.items()}

    def _doing(self) -> tuple[str, ...]:
        if self._snakemake:
            return self._snakemake.doing
        names = (*self._pipeline.models, *self._pipeline.data)
        # The lease of one that was killed stays until somebody prepares the same again.
        return tuple(f"preparing {name}" for name in names if is_held(self._pipeline.cache.preparing(name)))


def _at(cell: Cell, stage: Stage, **values: Any) -> CellProgress:
    return CellProgress(cell.id, cell.trial is not None, stage, **values)
