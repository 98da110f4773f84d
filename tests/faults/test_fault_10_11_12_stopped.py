"""Faults 10, 11, 12: a time limit, a requeued job, a lost node: as Slurm sends it (Slurm itself: tests/slurm)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.small_cells import Lab, Moment, outcome, record_of

from bench.errors import EXIT_TRY_AGAIN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_fault_10_saved_at_the_end_of_the_step(lab: Lab, tmp_path: Path, undisturbed: Any, number: int) -> None:
    cell = lab.prepare(lab.cell("qlora"))
    assert lab.train(cell, tmp_path / "out", Moment("step", 7, number), every=None) == EXIT_TRY_AGAIN
    assert f"stopped by {signal.Signals(number).name} at step 7 of 12" in (tmp_path / "log.txt").read_text()
    assert lab.train(cell, tmp_path / "out", every=None, attempt=2) == 0
    training = record_of(tmp_path / "out").training
    assert training is not None
    assert (training.attempt, training.resumed_at) == (2, (7,))
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)


def test_fault_11_preempted_again_and_again_leaves_one_record(
    lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]
) -> None:
    cell = lab.prepare(lab.cell("adalora"))
    for _ in range(5):  # two steps a try
        assert lab.train(cell, tmp_path / "out", Moment("step", 2), every=None) == EXIT_TRY_AGAIN
        assert not (tmp_path / "out" / "record.json").exists()
    assert lab.train(cell, tmp_path / "out") == 0
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)
    assert not list((lab.cache / "checkpoints").iterdir())


def test_fault_12_a_lost_node_costs_one_interval(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]) -> None:
    cell = lab.prepare(lab.cell("adalora"))
    assert lab.train(cell, tmp_path / "out", Moment("step", 11, signal.SIGKILL), every=4) == -signal.SIGKILL
    assert lab.train(cell, tmp_path / "out") == 0
    training = record_of(tmp_path / "out").training
    assert training is not None
    assert training.resumed_at == (8,)
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)


def test_a_stop_before_the_first_step(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]) -> None:
    cell = lab.prepare(lab.cell("lora"))
    assert lab.train(cell, tmp_path / "out", before=_stop_while_starting) == EXIT_TRY_AGAIN
    assert lab.train(cell, tmp_path / "out") == 0
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)


def _stop_while_starting() -> None:
    import os

    from bench.training import attempt

    original = attempt.find_sites

    def passing(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*args)

    attempt.find_sites = passing
