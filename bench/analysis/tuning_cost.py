"""What the trials of a group cost, beside the cells that they were for."""

from __future__ import annotations

from dataclasses import dataclass

from bench.analysis.results import Results
from bench.analysis.tuning_results import Group, process_seconds

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class TuningCost:
    """Hours of wall time times processes: of trials by kind of device, and of the recorded final cells."""

    trial_hours: dict[str, float]
    cell_hours: float

    @property
    def all_trial_hours(self) -> float:
        return sum(self.trial_hours.values())

    @property
    def share(self) -> float | None:
        """The trials' fraction of all these hours; None before anything was trained."""
        whole = self.all_trial_hours + self.cell_hours
        return self.all_trial_hours / whole if whole else None


def tuning_cost(results: Results, group: Group) -> TuningCost:
    """The cost of one group, from the trials and cells that are recorded, failed ones included."""
    tuning = results.tuning.groups.get(group)
    seconds = tuning.seconds if tuning else {}
    cells = sum(process_seconds(r, results.processes[r.cell.id]) for r in results.records_of(*group))
    hours = {device: taken / SECONDS_PER_HOUR for device, taken in seconds.items()}
    return TuningCost(hours, cells / SECONDS_PER_HOUR)
