"""A machine with GPUs where there are none: NVML's Python module is replaced by a stand-in, in processes started from
here too. CUDA is not imitated: PyTorch sees no GPU.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from bench.nvml import ALSO_GIVEN

STAND_INS = Path(__file__).parent / "stand_ins"
VARIABLES = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", *ALSO_GIVEN)
NO_LIBRARY, NO_DRIVER, OTHER_LIBRARY = 12, 9, 18  # NVML's errors: not installed, no driver, of another version


@dataclass
class Card:
    """A card; instances: the UUIDs of its parts, if it is split. processes: ids of those that compute on it.

    memory: bytes; None: it shares the host's. energy: millijoules that its counter shows; None: it has no counter.
    """

    uuid: str
    model: str = "NVIDIA H100 80GB HBM3"
    capability: tuple[int, int] = (9, 0)
    memory: int | None = 80 * 2**30
    instances: Sequence[str] = ()
    processes: Sequence[int] = ()
    forbidden: bool = False
    energy: int | None = None


@dataclass
class Machine:
    """What NVML says of the machine; after a change call `write`."""

    file: Path
    cards: list[Card] = field(default_factory=list)
    driver: str = "580.65.06"
    error: int = 0

    def write(self) -> None:
        cards = [asdict(card) for card in self.cards]
        for card in cards:
            part = {"model": "NVIDIA H100 MIG 1g.10gb", "memory": 10 * 2**30, "processes": card["processes"]}
            card["instances"] = [{**part, "uuid": uuid} for uuid in card["instances"]]
        self.file.write_text(json.dumps({"driver": self.driver, "error": self.error, "cards": cards}))


def stand_in_nvml() -> ModuleType:
    """The module that takes the place of NVML's."""
    spec = importlib.util.spec_from_file_location("pynvml", STAND_INS / "pynvml.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stand_in_machine(
    monkeypatch: pytest.MonkeyPatch, folder: Path, cards: Sequence[Card], *, driver: str = "580.65.06", error: int = 0
) -> Machine:
    """Let this test and the processes that it starts find `cards`, outside of Slurm, none of them hidden.

    `folder` is also that of temporary files, among them the locks of GPUs.
    """
    machine = Machine(folder / "gpus.json", list(cards), driver, error)
    machine.write()
    monkeypatch.setenv("STAND_IN_GPUS", str(machine.file))
    monkeypatch.setenv("PYTHONPATH", str(STAND_INS), prepend=os.pathsep)
    monkeypatch.setitem(sys.modules, "pynvml", stand_in_nvml())
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return machine
