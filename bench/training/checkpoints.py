"""Checkpoints: safetensors and JSON, with a manifest of SHA-256 hashes written last. The newest two are kept.

They stand in a folder of their own, named by the cell's identity, because Snakemake deletes the outputs of a job that
failed. If something is wrong with a checkpoint, the log says what, and the next older one is tried.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from bench.errors import BenchError
from bench.files import canonical_json, clear_when_full, digest, folder_in_one_step
from bench.paths import CURVE, MANIFEST
from bench.training.curve import curve_matches

logger = logging.getLogger(__name__)
KEPT = 2
BAD = (BenchError, OSError, ValueError, LookupError, TypeError, RuntimeError, RecursionError, SafetensorError)
TENSORS, STATE = "state.safetensors", "state.json"


@dataclass(frozen=True)
class Interval:
    """When a checkpoint is due: so many seconds after the last one, and at every multiple of `steps`.

    The seconds are stretched so that saving takes at most the fraction `cost` of the training; the steps are not.
    """

    seconds: float = 300.0
    steps: int | None = None
    cost: float = 0.01


@dataclass(frozen=True)
class Checkpoint:
    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of the cell `identity` in `folder`. Removes temporary folders that a killed attempt left."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], interval: Interval | None = None) -> None:
        self.folder, self._identity, self._interval = folder, dict(identity), interval or Interval()
        folder.mkdir(parents=True, exist_ok=True)
        for orphan in folder.glob(".*.tmp"):
            shutil.rmtree(orphan, ignore_errors=True)
        self._saved, self._took = time.monotonic(), 0.0
        self._refused: list[Path] = []

    @property
    def curve(self) -> Path:
        """Where the curve grows until the cell is recorded."""
        return self.folder / CURVE

    def curve_of(self, rank: int) -> Path:
        """Where the curve of the process `rank` grows; that of the main process is the cell's."""
        return self.curve if rank == 0 else self.folder / f"{rank}-{CURVE}"

    def due(self, step: int) -> bool:
        """Whether it is time for the checkpoint of `step`."""
        if self._interval.steps is not None and step % self._interval.steps == 0:
            return True
        return time.monotonic() - self._saved >= max(self._interval.seconds, self._took / self._interval.cost)

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write the checkpoint of `step`. Raises TransientError if the disk is full; the older ones stay intact."""
        began = time.monotonic()
        files = {
            TENSORS: safetensors.save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}),
            STATE: canonical_json({**state, "identity": self._identity}),
        }
        manifest = {"step": step, "sha256": {name: digest(data) for name, data in files.items()}}
        files[MANIFEST] = canonical_json(manifest)
        with (
            clear_when_full(self.folder, sum(map(len, files.values()))),
            folder_in_one_step(self.folder / f"step-{step:09d}") as new,
        ):
            for name, data in files.items():
                with (new / name).open("wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
        refused = [old for old in self._refused if old.name != f"step-{step:09d}"]
        for old in refused + [old for old in self._all() if old not in refused][:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        self._refused.clear()
        self._saved = time.monotonic()
        self._took = self._saved - began

    def resume(self, load: Callable[[Checkpoint], None]) -> tuple[Checkpoint | None, list[str]]:
        """`load` the newest checkpoint that is intact.

        Returns it, None if there is none, and the faults of those that were refused: unreadable ones, and those from
        which `load` could not go on.
        """
        faults: list[str] = []
        for folder in reversed(self._all()):
            try:
                checkpoint = self._read(folder)
                load(checkpoint)
                return checkpoint, faults
            except BAD as error:
                self._refused.append(folder)
                text = str(error) or type(error).__name__
                faults.append(f"{folder.name}: {text}")
                logger.warning("checkpoint %s is not used: %s", folder, text)
        return None, faults

    def remove(self) -> None:
        """Delete all of them; the cell is recorded."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        return sorted(p for p in self.folder.glob("step-*") if p.is_dir() and not p.is_symlink())

    def _read(self, folder: Path) -> Checkpoint:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if folder.name != f"step-{manifest['step']:09d}":
            raise ValueError(f"{MANIFEST} is of step {manifest['step']}")
        data = {}
        for name in (TENSORS, STATE):
            data[name] = (folder / name).read_bytes()
            if digest(data[name]) != manifest["sha256"][name]:
                raise ValueError(f"{name} does not have the SHA-256 of its manifest")
        state = json.loads(data[STATE])
        if state["identity"] != self._identity:
            raise ValueError("it is of another cell, other data or another model")
        if not curve_matches(self.curve, state["curve"]["length"], state["curve"]["sha256"]):
            raise ValueError(f"{CURVE} is not what it was")
        return Checkpoint(int(manifest["step"]), safetensors.load(data[TENSORS]), state)
