"""Train a recorded cell again, in a process of its own, into a folder of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.config.cell import Cell
from bench.distributed import SINGLE_PROCESS, ProcessGroup, exit_with_parent, init_process_group
from bench.errors import EXIT_TRY_AGAIN, BenchError, TransientError
from bench.lease import lease
from bench.nvml import VARIABLE
from bench.paths import TRAINING_LOG, CachePaths, CellPaths
from bench.records.io import write_record
from bench.records.rung import read_rung
from bench.records.schema import Record


@dataclass(frozen=True)
class Repetition:
    """What is trained, and where. `on_cpu`: the record is of a CPU, so this training is, where there are GPUs too.

    `rung`: that at which successive halving stopped the trial; None where it was trained to its end.
    """

    cell: Cell
    out: Path
    cache: Path
    mirror: Path | None
    on_cpu: bool = False
    rung: int | None = None

    @property
    def gpus(self) -> int:
        """How many GPUs it takes where there are any."""
        per_process = self.cell.task.resources.gpus
        return 0 if self.on_cpu else self.cell.recipe.processes * (1 if per_process is None else per_process)

    @property
    def log(self) -> Path:
        """What the training prints."""
        return self.out / TRAINING_LOG


def train_all(repetition: Repetition, words: Callable[[Path], list[str]], held: list[str]) -> None:
    """Train the cell in its processes, on the GPUs that are `held`; what it prints goes to the log in its folder.

    words: those after `bench` that make a process of a cell with several of them train into that folder. Raises
    TransientError after a signal: what is saved stays, and the same command goes on. Raises BenchError if the training
    refuses its input.
    """
    from bench.training.group import Group, Job
    from bench.training.launch import launch

    repetition.out.mkdir(parents=True, exist_ok=True)
    log = repetition.log
    processes = repetition.cell.recipe.processes
    if processes > 1:
        with lease(repetition.out):
            code = launch(words(repetition.out), processes, held)
    else:
        group = Group()
        with group.passing_signals():
            ended = [code for _, code in group.run([Job("cell", partial(train_alone, repetition), log)])]
        code = ended[0] if ended else EXIT_TRY_AGAIN  # none: the signal came before it was started
    if code == EXIT_TRY_AGAIN:
        raise TransientError(f"the training was stopped: run the same command again to go on ({repetition.out})")
    if code != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:] if log.is_file() else []
        raise BenchError(f"the training ended with exit code {code}: {' '.join(last) or 'it said nothing'}")


def train_alone(repetition: Repetition) -> None:
    """Train in this process, under the lease of the folder."""
    if repetition.on_cpu:
        os.environ[VARIABLE] = ""
    with lease(repetition.out):
        _train(repetition, SINGLE_PROCESS)


def train_launched(repetition: Repetition) -> None:
    """The work of one of several processes; the process that started them holds the lease."""
    exit_with_parent()
    if repetition.on_cpu:
        os.environ[VARIABLE] = ""
    _train(repetition, init_process_group())


def _train(repetition: Repetition, processes: ProcessGroup) -> None:
    """Train to the end, or rung by rung where the cell is a trial under successive halving: it is scored at each."""
    cell, out = repetition.cell, repetition.out
    halving = cell.trial.halving if cell.trial else None
    last = repetition.rung or (len(halving.rungs) if halving else 0)
    for number in range(1, last + 1):
        if read_rung(CellPaths(out).rung(number)) is None and _part(repetition, processes, number).status != "ok":
            return
    if repetition.rung is None:
        _part(repetition, processes, None)
    elif processes.is_main:
        rung = read_rung(CellPaths(out).rung(last))
        assert rung is not None  # it was written above
        record = Record.model_validate(rung.record)
        write_record(record, out)
        shutil.rmtree(CachePaths(repetition.cache).checkpoints(record.cell.hash, out), ignore_errors=True)


def _part(repetition: Repetition, processes: ProcessGroup, rung: int | None) -> Record:
    from bench.training.run import train_cell

    return train_cell(
        repetition.cell,
        out=repetition.out,
        cache=repetition.cache,
        mirror=repetition.mirror,
        process_group=processes,
        rung=rung,
    )
