"""Predicted peaks of cells on a GPU, kept in the cache: a prediction takes seconds, and it needs torch.

Snakemake reads this module at every parse, so it leaves predictions to a process of their own.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bench.config.cell import Cell
from bench.errors import BenchError
from bench.estimate.tuning_cost import planning_key
from bench.files import canonical_json, write_atomic
from bench.log import waiting
from bench.nvml import VARIABLE

# Raise it when predictions change: what is kept of an older number is predicted anew.
VERSION = 1
_PREDICT = "bench.estimate.peaks_process"


def declared_peaks(cells: Sequence[Cell], file: Path) -> dict[str, int | None]:
    """By `peak_key`: the predicted peak of each of `cells` on a GPU in bytes; None where it can't be predicted.

    It is that of the largest batch that the recipe allows, whatever is prepared by now: every process that asks, and
    at any time, gets the same number. `file` keeps them. Raises BenchError if the prediction fails.
    """
    kept = _kept(file)
    missing = {key: cell for cell in cells if (key := peak_key(cell)) not in kept}
    if missing:
        with waiting(f"the predicted memory of {len(missing)} different trainings, which is kept in {file}"):
            found = dict(zip(missing, _predicted(list(missing.values())), strict=True))
        kept = {**_kept(file), **found}  # another process may have added to it
        write_atomic(file, canonical_json({"version": VERSION, "peaks": kept}))
    return {key: kept[key] for key in map(peak_key, cells)}


def peak_key(cell: Cell) -> str:
    """The same for cells with one peak, whether their values were chosen by then or not."""
    return planning_key(cell.model_copy(update={"choice": None}))


def _predicted(cells: list[Cell]) -> list[int | None]:
    # As a module of this package, wherever it was imported from. No GPU is needed, and none may be initialized.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), VARIABLE: ""}
    words, given = [sys.executable, "-P", "-m", _PREDICT], pickle.dumps(cells)
    done = subprocess.run(words, input=given, capture_output=True, check=False, env=environment)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise BenchError(f"cells_per_gpu is auto, and the peaks that it needs can't be predicted: {said[-1]}")
    peaks: list[int | None] = json.loads(done.stdout.splitlines()[-1])
    return peaks


def _kept(file: Path) -> Mapping[str, int | None]:
    """What `file` keeps; nothing if it is missing, damaged or of another version."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        read = json.loads(file.read_bytes())
        if read["version"] == VERSION:
            return {str(key): peak if peak is None else int(peak) for key, peak in read["peaks"].items()}
    return {}
