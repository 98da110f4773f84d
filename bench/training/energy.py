"""Joules of a training, from the counters of the hardware, charged to the phases that the seconds are charged to.

On GPUs they are the drivers' counters (Volta and newer). On the CPU they are RAPL's, where Linux lets this process read
them (it leaves them to root unless the site says otherwise): those of all processor packages of the machine, whatever
else runs on it, without memory and disks. Where there is no counter, nothing is estimated: the energy is not measured.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from bench.config.cell import Cell
from bench.distributed import ProcessGroup
from bench.errors import BenchError
from bench.nvml import cells_on_gpu, consumed_joules, visible_gpus
from bench.records.energy import Energy
from bench.records.environment import other_processes

POWERCAP = Path("/sys/class/powercap")
JOULE = 1_000_000  # microjoules


class Counter(Protocol):
    """A counter of joules. `shared`: whether others could use what it counts at the same time."""

    source: str
    shared: bool

    def read(self) -> float | None:
        """Joules since some moment in the past; None if the counter does not answer."""


class Packages:
    """RAPL's counters of all processor packages; each begins again at zero after its range, so read it often enough.

    zones: the folder of each counter and its last reading, in microjoules. Raises OSError or ValueError where one of
    them cannot be read.
    """

    source = "rapl"

    def __init__(self, zones: Sequence[Path], *, shared: bool) -> None:
        self.shared = shared
        self._ranges = {zone: _number(zone / "max_energy_range_uj") for zone in zones}
        self._last = {zone: _number(zone / "energy_uj") for zone in zones}
        self._total = 0

    def read(self) -> float | None:
        """Joules of all packages together since this object was made."""
        try:
            now = {zone: _number(zone / "energy_uj") for zone in self._last}
        except (OSError, ValueError):
            return None
        for zone, last in self._last.items():
            passed = now[zone] - last
            self._total += passed if passed >= 0 else passed + self._ranges[zone]
        self._last = now
        return self._total / JOULE


class Cards:
    """The counters of GPUs, by the UUIDs of their cards. A part of a split card has none of its own."""

    source = "nvml"

    def __init__(self, cards: Sequence[str], *, shared: bool) -> None:
        self.cards, self.shared = list(dict.fromkeys(cards)), shared

    def read(self) -> float | None:
        return consumed_joules(self.cards)


class EnergyAccount:
    """The joules of a cell by phase, over all attempts that go on from each other. Nothing is known without a counter.

    Once an attempt was not measured, or a counter stopped to answer, the sum is not known any more.
    """

    def __init__(self, counter: Counter | None = None) -> None:
        self._counter = counter
        self._last = counter.read() if counter else None
        self._energy: Energy | None = None
        self.reset()

    def charge(self, phase: str | None) -> None:
        """Charge `phase` with what was consumed since the last call; None: with nothing."""
        if self._counter is None or self._energy is None:
            return
        now, last = self._counter.read(), self._last
        self._last = now
        if now is None or last is None or now < last:
            self._energy = None
        elif phase is not None:
            self._energy = self._energy.model_copy(update={phase: getattr(self._energy, phase) + now - last})

    def reset(self) -> None:
        """Forget the joules of earlier attempts, because nothing of their work is used."""
        self._energy = Energy(sources=(self._counter.source,), shared=self._counter.shared) if self._counter else None

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Go on from `state`, that of an earlier attempt."""
        self.reset()
        if state is None or self._energy is None:
            self._energy = None
            return
        earlier, own = Energy.model_validate({**state, "sources": tuple(state["sources"])}), self._energy
        sources = tuple(dict.fromkeys((*earlier.sources, *own.sources)))
        self._energy = earlier.model_copy(update={"sources": sources, "shared": earlier.shared or own.shared})

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint keeps."""
        return None if self._energy is None else self._energy.model_dump(mode="json")

    def measured(self) -> Energy | None:
        """For the record; None if it is not measured."""
        return self._energy


def counter_of(cell: Cell, device: torch.device, process_group: ProcessGroup) -> Counter | None:
    """The counter of all that trains the cell, in the main process; None in the others, and where there is none.

    All processes of the cell call it together.
    """
    gpu = _own_card(device) if device.type == "cuda" else None
    cards = process_group.all_gather_object(gpu)
    if not process_group.is_main:
        return None
    if device.type == "cuda":
        known = [card for card in cards if card is not None]
        counter = Cards([uuid for uuid, _ in known], shared=any(shared for _, shared in known))
        return counter if len(known) == len(cards) and counter.read() is not None else None
    return _packages(cell.threads * process_group.world_size)


def _own_card(device: torch.device) -> tuple[str, bool] | None:
    """The UUID of the card that this process computes on, and whether others could use it too; None if unknown."""
    try:
        gpu = visible_gpus()[device.index or 0]
    except (BenchError, IndexError):
        return None
    if gpu.card is None:
        return None
    return gpu.card, gpu.card != gpu.uuid or cells_on_gpu() > 1 or bool(other_processes(str(device)))


def _packages(threads: int) -> Packages | None:
    """The counters of this machine's processors, for a cell of so many threads; None where they can't be read.

    A cell that has fewer threads than the machine has processors leaves some to others.
    """
    zones = sorted(zone for zone in POWERCAP.glob("intel-rapl:*") if _is_package(zone))  # AMD's have that name too
    try:
        return Packages(zones, shared=threads < (os.cpu_count() or 1)) if zones else None
    except (OSError, ValueError):
        return None


def _is_package(zone: Path) -> bool:
    """Not a part of a package, which its counter holds already, nor the platform (psys), which holds the packages."""
    try:
        return zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package")
    except OSError:
        return False


def _number(file: Path) -> int:
    return int(file.read_text())
