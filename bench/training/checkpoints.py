"""Checkpoints: safetensors and JSON, a manifest with SHA-256 written last, renamed into place; the newest two kept.

They stand in a folder of their own, by the cell's hash, never among the pipeline's outputs (which Snakemake deletes).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.errors import TransientError
from bench.files import canonical_json, folder_in_one_step, sha256_file

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one cell in `folder`. Temporaries that a killed job left are removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for orphan in folder.glob(".*.tmp"):
            shutil.rmtree(orphan, ignore_errors=True)

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write the checkpoint of `step`. Raises TransientError where the disk is full; the older ones stay whole."""
        needed = sum(t.numel() * t.element_size() for t in tensors.values())
        try:
            with folder_in_one_step(self.folder / f"step-{step:09d}") as new:
                save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, new / "state.safetensors")
                (new / "state.json").write_bytes(canonical_json(dict(state)))
                hashes = {name: sha256_file(new / name) for name in ("state.json", "state.safetensors")}
                (new / "manifest.json").write_bytes(canonical_json({"step": step, "sha256": hashes}))
        except (OSError, SafetensorError) as error:
            free = shutil.disk_usage(self.folder).free
            raise TransientError(
                f"no checkpoint of step {step} in {self.folder}: {error} ({needed:,} bytes needed, {free:,} free)"
            ) from error
        for old in self._all()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is whole, and the names of newer ones that are not (each is warned of)."""
        bad: list[str] = []
        for folder in reversed(self._all()):
            fault = _fault(folder)
            if fault is None:
                state = json.loads((folder / "state.json").read_bytes())
                return Checkpoint(int(folder.name[5:]), load_file(folder / "state.safetensors"), state), bad
            print(f"warning: checkpoint {folder} is not used: {fault}", file=sys.stderr, flush=True)
            bad.append(folder.name)
        return None, bad

    def remove(self) -> None:
        """The cell is recorded: nothing of it is left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        return sorted(p for p in self.folder.glob("step-*") if p.is_dir())


def _fault(folder: Path) -> str | None:
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        for name in ("state.json", "state.safetensors"):
            if sha256_file(folder / name) != manifest["sha256"][name]:
                return f"{name} does not have the SHA-256 of its manifest"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None
