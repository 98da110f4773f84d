"""Where the seconds of a cell go, and its energy."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch

from bench.config.cell import Cell
from bench.distributed import ProcessGroup
from bench.log import process_age
from bench.records.schema import Seconds, StartUp
from bench.training.energy import EnergyAccount, counter_of

Phase = Literal["training", "evaluation", "saving"]
StartupPart = Literal["libraries", "data", "model"]
TICK = 10.0  # seconds between two readings of a counter at the most: it may begin again after some minutes


class Stopwatch:
    """Charges the seconds of a cell to its phases, and the joules of `energy` where they are measured.

    Phases may be nested: what an inner one takes is not charged to the outer one. The seconds of phases are kept over
    interruptions (`state`, `load`), as the joules are; those of the start-up are this process's own.

    Example:
        >>> with stopwatch.phase("training"):
        ...     train_step()
        ...     with stopwatch.phase("evaluation"):  # the training's seconds stand still
        ...         evaluate()
    """

    def __init__(self) -> None:
        self._seconds: dict[Phase, float] = {"training": 0.0, "evaluation": 0.0, "saving": 0.0}
        self._startup: dict[StartupPart, float] = {"libraries": 0.0, "data": 0.0, "model": 0.0}
        self._phase: Phase | None = None
        self._charged_at = time.monotonic()
        self.energy = EnergyAccount()

    def measure_energy(self, cell: Cell, device: torch.device, process_group: ProcessGroup) -> None:
        """Charge joules too, where a counter tells them. All processes of the cell call it, before the first phase."""
        self.energy = EnergyAccount(counter_of(cell, device, process_group))

    def tick(self) -> None:
        """Call it often in a long phase: it reads the counter of energy before that begins again."""
        if time.monotonic() - self._charged_at >= TICK:
            self._charge()

    def end_startup_part(self, part: StartupPart) -> None:
        """Charge `part` with all the time since the process started that no earlier part was charged with."""
        self._startup[part] = process_age() - sum(self._startup.values())

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Charge `phase` with what the block takes, apart from phases inside it."""
        self._charge()
        outer, self._phase = self._phase, phase
        try:
            yield
        finally:
            self._charge()
            self._phase = outer

    def seconds(self, phase: Phase) -> float:
        """Seconds charged to `phase` so far, those of interrupted attempts included."""
        return self._seconds[phase]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"energy": self.energy.state()} | {str(phase): seconds for phase, seconds in self._seconds.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, that of an earlier attempt. Checkpoints before version 0.2 know no energy."""
        self._seconds = {phase: float(state[phase]) for phase in self._seconds}
        self.energy.load(state.get("energy"))

    def reset(self) -> None:
        """Forget the seconds of earlier attempts, because nothing of their work is used."""
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        self.energy.reset()

    def completed(self) -> Seconds:
        """The record's seconds of a completed cell: the total is the sum of the parts."""
        startup = sum(self._startup.values())
        return Seconds(
            startup=startup,
            **self._seconds,
            total=startup + sum(self._seconds.values()),
            parts_of_startup=StartUp(**self._startup),
        )

    def failed(self) -> Seconds:
        """The record's seconds of a failed cell: the total is the age of this process."""
        return Seconds(startup=0.0, **self._seconds, total=process_age())

    def _charge(self) -> None:
        now = time.monotonic()
        if self._phase is not None:
            self._seconds[self._phase] += now - self._charged_at
        self.energy.charge(self._phase)
        self._charged_at = now
