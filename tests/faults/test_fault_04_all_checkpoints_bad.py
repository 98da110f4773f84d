"""Fault 4: all checkpoints bad: the training starts at step 0, and the record says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.killed_training import killed_after_step_7
from helpers.small_cells import Lab, outcome, record_of

from bench.paths import CachePaths


def test_starts_again_and_says_so(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]) -> None:
    cell, folders = killed_after_step_7(lab, tmp_path / "out")
    for folder in folders:
        (folder / "state.safetensors").write_bytes(b"nothing")
    assert lab.train(cell, tmp_path / "out") == 0
    training = record_of(tmp_path / "out").training
    assert training is not None
    assert (training.resumed_at, training.restarted, len(training.discarded_checkpoints)) == ((), True, 2)
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)


def test_a_checkpoint_of_other_data_is_not_taken(lab: Lab, tmp_path: Path) -> None:
    """A whole checkpoint, but of another seed, put where this cell's stand."""
    _, folders = killed_after_step_7(lab, tmp_path / "out")
    other = lab.cell("adalora", seed=1)
    foreign = folders[0].parent
    lab.train(other, tmp_path / "other", every=None)  # only to know its folder
    own = CachePaths(lab.cache).checkpoints(record_of(tmp_path / "other").cell.hash, tmp_path / "other")
    (tmp_path / "other" / "record.json").unlink()
    foreign.rename(own)
    assert lab.train(other, tmp_path / "other") == 0
    training = record_of(tmp_path / "other").training
    assert training is not None
    assert training.restarted
    assert "another cell" in training.discarded_checkpoints[0]
