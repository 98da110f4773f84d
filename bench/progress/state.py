"""What is known of a run at one moment: plain values, which are drawn as a picture or compared as lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stage = Literal["done", "failed", "running", "starting", "queued", "waiting"]


@dataclass(frozen=True)
class CellProgress:
    """One cell or trial.

    `stage`: done has a score; failed has a record without one, or a job that ended without a record; starting has a
    job that still loads its libraries; waiting has no job yet, or waits in it for its turn.

    Attributes:
        result: of a cell that is done, its reported score, such as "mcc 0.512".
        seconds: of a cell that is done, how long it took.
        step, steps: of a running cell. steps is None while the number of rows is not known.
        loss: of that step; None before the first block of steps.
        ranks, cap: the sum of the live ranks, and what the budget allows at the end; None where it is not in ranks.
        left: seconds until the cell is done; None where nothing is known.
        message: why a cell failed, in one line; of a queued one, why it waits.
        log: the file with the whole story of a failure.
    """

    id: str
    is_trial: bool
    stage: Stage
    result: str = ""
    seconds: float | None = None
    step: int = 0
    steps: int | None = None
    loss: float | None = None
    ranks: int | None = None
    cap: int | None = None
    left: float | None = None
    message: str = ""
    log: str = ""


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment. `cells` are its trials, then its final cells.

    doing: what runs beside the cells ("prepares cola-ab4bc29757f6", "makes tables, figures and page").
    left: seconds until all are done, as far as it is known. unknown: how many cells that leaves out.
    clock: the local time, which shows that a picture without news is not an old one.
    """

    study: str
    cells: tuple[CellProgress, ...]
    doing: tuple[str, ...] = ()
    left: float | None = None
    unknown: int = 0
    clock: str = ""

    @property
    def trials(self) -> tuple[CellProgress, ...]:
        return tuple(cell for cell in self.cells if cell.is_trial)

    @property
    def final_cells(self) -> tuple[CellProgress, ...]:
        return tuple(cell for cell in self.cells if not cell.is_trial)

    @property
    def complete(self) -> bool:
        """Whether every cell is done or failed."""
        return all(cell.stage in ("done", "failed") for cell in self.cells)


def in_words(seconds: float) -> str:
    """A duration as people say it.

    >>> in_words(42), in_words(200), in_words(5000)
    ('42 s', '3 min', '1 h 23 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def left_in_words(snapshot: Snapshot) -> str:
    """The forecast for what is left; empty where nothing is known or left."""
    if snapshot.left is None or snapshot.complete:
        return ""
    more = f" and {snapshot.unknown} cells unlike any that is done" if snapshot.unknown else ""
    return f"about {in_words(snapshot.left)} left{more}"
