"""Short cells that share a job: which ones, and the names of their rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy


@dataclass(frozen=True)
class Group:
    """Cells of one task that one job trains, or trials. `name` is the name of the job's rule.

    No other rule begins with `group_` or `trials_`: a name like train_sst2_2 would be that of the rule of a task called
    sst2_2.
    """

    name: str
    task: str
    cells: tuple[Cell, ...]

    @property
    def rungs_name(self) -> str:
        """The name of the rule that trains these trials to a rung of successive halving."""
        return f"rungs_{self.name.removeprefix('trials_')}"

    @property
    def cell_names(self) -> str:
        """'method/budget/seed' of each cell, 'method/budget/point/seed' of each trial: `bench group --cells`."""
        return " ".join(_name(cell) for cell in self.cells)


def groups_of(study: ResolvedStudy, cells: Sequence[Cell]) -> list[Group]:
    """`cells`, all of them final or all of them trials, in groups of `cells_per_job` of one task.

    In a study that tunes, all cells of a group are of one method and budget as well, so that final cells wait for their
    own trials only. Empty if `cells_per_job` is 1: then every cell has a job of its own.
    """
    size = study.study.cells_per_job
    if size == 1:
        return []
    groups: list[Group] = []
    for task in dict.fromkeys(cell.task.name for cell in cells):
        together: dict[str, list[Cell]] = {}
        for cell in cells:
            if cell.task.name == task:
                # What takes over ranks waits for the cells that have them, which may be of this task.
                key = cell.group if study.trials else f"{task} {study.donor(cell) is not None}"
                together.setdefault(key, []).append(cell)
        parts = [
            tuple(members[start : start + size])
            for members in together.values()
            for start in range(0, len(members), size)
        ]
        groups += [Group(f"{_prefix(part)}_{task}_{number}", task, part) for number, part in enumerate(parts, start=1)]
    return groups


def _prefix(cells: Sequence[Cell]) -> str:
    return "trials" if cells[0].trial else "group"


def _name(cell: Cell) -> str:
    point = f"{cell.trial.point}/" if cell.trial else ""
    return f"{cell.method.name}/{cell.budget_name}/{point}{cell.seed}"
