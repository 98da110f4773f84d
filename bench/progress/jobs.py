"""The jobs of a run: those that Snakemake started, by what it tells, and those in Slurm's queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.cell import Cell
from bench.pipeline.failures import error_message, last_message, steps_of, text_of
from bench.pipeline.slurm_jobs import SlurmJob, jobs_of_cells
from bench.pipeline.study import Pipeline
from bench.training.signals import STOPPED

QUEUE_SECONDS = 15.0  # between two questions to Slurm


@dataclass(frozen=True)
class Failure:
    """Why a job left nothing, in one line, and the log that says more."""

    message: str
    log: Path


@dataclass(frozen=True)
class Job:
    """A job of Snakemake: the ids of the cells that it trains, or else what it is doing, in words.

    here: it runs on this machine. Another one is in the queue of a cluster first.
    """

    cells: tuple[str, ...]
    doing: str
    here: bool


@dataclass(frozen=True)
class FailedJob:
    """A job that failed, and why."""

    job: Job
    failure: Failure


class SnakemakeJobs:
    """What the Snakemake of this process started, and what failed."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._paths = pipeline.paths
        cells = (*pipeline.trials, *pipeline.cells)
        self._by_folder = {pipeline.paths.cell(cell.id).folder.as_posix(): cell.id for cell in cells}
        self._jobs: dict[int, Job] = {}
        self.failures: dict[str, Failure] = {}  # by the id of a cell

    @property
    def doing(self) -> tuple[str, ...]:
        return tuple(job.doing for job in list(self._jobs.values()) if not job.cells)

    @property
    def here(self) -> list[tuple[str, ...]]:
        """The cells of each job that runs on this machine."""
        return [job.cells for job in list(self._jobs.values()) if job.here and job.cells]

    def started(self, number: int, outputs: Sequence[str], doing: str, *, here: bool) -> None:
        """A job was started, or submitted. `outputs` are its files as Snakemake prints them: "FILE (update)".

        It is followed if it trains cells, or if `doing` says what it does.
        """
        folders = (Path(output.removesuffix(" (update)")).parent.as_posix() for output in outputs)
        cells = tuple(dict.fromkeys(self._by_folder[folder] for folder in folders if folder in self._by_folder))
        for name in cells:
            self.failures.pop(name, None)
        if cells or doing:
            self._jobs[number] = Job(cells, doing, here)

    def ended(self, number: int) -> None:
        self._jobs.pop(number, None)

    def failed(self, number: int, logs: Sequence[str]) -> FailedJob | None:
        """A job failed: it is a failure of its cells that have no record. None if it is none that is followed."""
        job = self._jobs.pop(number, None)
        if job is None:
            return None
        shared = Path(logs[0]) if logs else self._paths.logs
        for name in job.cells:
            log = self._paths.log(name)
            self.failures[name] = _failure(log if log.is_file() else shared)
        return FailedJob(job, _failure(shared))


class SlurmQueue:
    """This user's jobs in Slurm's queue, by the ids of their cells. Slurm is asked in a thread: it may be slow."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._study, self._asked = pipeline.study, float("-inf")
        self._thread: threading.Thread | None = None
        self.jobs: Mapping[str, SlurmJob] = {}

    def refresh(self) -> None:
        """Ask again if it is time to; the answer comes later."""
        if time.monotonic() - self._asked > QUEUE_SECONDS and not (self._thread and self._thread.is_alive()):
            self._asked = time.monotonic()
            self._thread = threading.Thread(target=self._ask, daemon=True)
            self._thread.start()

    @property
    def running(self) -> list[tuple[str, ...]]:
        """The cells of each job that runs."""
        together: dict[str, list[str]] = {}
        for name, job in self.jobs.items():
            if job.state == "RUNNING":
                together.setdefault(job.id, []).append(name)
        return [tuple(names) for names in together.values()]

    def _ask(self) -> None:
        self.jobs = jobs_of_cells(self._study, Path.cwd())


class FailuresInLogs:
    """Failures as the logs tell them, for whoever is not told by Snakemake."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._paths = pipeline.paths
        self._known: dict[Path, tuple[int, str]] = {}

    def of(self, cell: Cell) -> Failure | None:
        """Why the latest attempt at a cell without a record ended; None if its log tells of no error.

        One that was asked to stop (Ctrl-C, the end of a job's time) has not failed: the same command goes on with it.
        """
        for _, log in reversed(steps_of(cell, self._paths)):
            try:
                changed = log.stat().st_mtime_ns
            except OSError:
                continue
            if self._known.get(log, (0, ""))[0] != changed:
                text = text_of(log)
                failed = "Traceback (most recent call last)" in text or error_message(log)
                message = first_line(last_message(log)) if failed else ""
                self._known[log] = (changed, "" if message.startswith(STOPPED) else message)
            message = self._known[log][1]
            return Failure(message, log) if message else None
        return None


def starting(jobs: Sequence[Sequence[str]], running: Collection[str], recorded: Collection[str]) -> set[str]:
    """Of each job that has not come to one of its cells yet, the first cell without a record."""
    idle = (names for names in jobs if not any(name in running for name in names))
    first = (next((name for name in names if name not in recorded), None) for names in idle)
    return {name for name in first if name is not None}


def _failure(log: Path) -> Failure:
    return Failure(first_line(last_message(log)) if log.is_file() else "left no log", log)


def first_line(text: str) -> str:
    """What stands in one line of the picture."""
    return text.strip().partition("\n")[0]
