"""What runs of a study took, by device: hours and energy of final cells and trials, ended well or failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.analysis.results import Results
from bench.analysis.tuning_cost import SECONDS_PER_HOUR
from bench.analysis.tuning_results import process_seconds
from bench.records.energy import Energy
from bench.records.schema import Record, Status


@dataclass(frozen=True)
class Run:
    """One recorded training. seconds: wall time times processes; None: not recorded. device: its kind and its model."""

    status: Status
    device: tuple[str, str | None]
    seconds: float | None
    energy: Energy | None


@dataclass(frozen=True)
class Compute:
    """What some runs took. hours: wall time times processes, by device. untimed: of how many runs none is recorded."""

    runs: int
    hours: dict[tuple[str, str | None], float]
    untimed: int
    energies: tuple[Energy | None, ...]


def compute_of(runs: Iterable[Run]) -> Compute:
    """The sums of `runs`."""
    found, hours = list(runs), dict[tuple[str, str | None], float]()
    for run in found:
        if run.seconds is not None:
            hours[run.device] = hours.get(run.device, 0.0) + run.seconds / SECONDS_PER_HOUR
    untimed = sum(run.seconds is None for run in found)
    return Compute(len(found), hours, untimed, tuple(run.energy for run in found))


def cell_runs(results: Results) -> Iterator[Run]:
    """The recorded final cells."""
    for record in results.records.values():
        yield run_of(record, results.processes[record.cell.id])


def trial_runs(results: Results) -> Iterator[Run]:
    """The recorded trials."""
    for group in results.tuning.groups.values():
        for trial in group.trials:
            seconds = trial.seconds if trial.timed else None
            yield Run(trial.status, (_kind(trial.device), trial.device_name), seconds, trial.energy)


def run_of(record: Record, processes: int) -> Run:
    """The run that a record is of."""
    training = record.training
    device = (_kind(str(record.environment.get("device"))), record.environment.get("device_name"))
    seconds = process_seconds(record, processes) if training else None
    return Run(record.status, device, seconds, training.energy if training else None)


def _kind(device: str) -> str:
    """'cuda' for cuda:1."""
    return device.partition(":")[0]
