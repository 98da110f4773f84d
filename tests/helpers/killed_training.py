"""A training that was killed with two checkpoints on disk, for tests that then damage them."""

from __future__ import annotations

import signal
from pathlib import Path

from bench.config.cell import Cell
from helpers.small_cells import Lab, Moment


def killed_after_step_7(lab: Lab, out: Path, method: str = "adalora") -> tuple[Cell, list[Path]]:
    """Train a cell of 12 steps and kill it in step 8: the cell and its checkpoints, of steps 6 and 7."""
    cell = lab.prepare(lab.cell(method))
    assert lab.train(cell, out, Moment("step", 8, signal.SIGKILL)) == -signal.SIGKILL
    folders = sorted(lab.checkpoints().glob("step-*"))
    assert [folder.name for folder in folders] == ["step-000000006", "step-000000007"]
    return cell, folders
