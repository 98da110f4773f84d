"""Fault 32: a clock that is set back, and files from the future, change nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.small_cells import Lab, Moment, outcome, record_of

from bench.errors import EXIT_TRY_AGAIN


def test_durations_and_resume_do_not_look_at_the_clock(lab: Lab, tmp_path: Path, undisturbed: Any) -> None:
    cell = lab.prepare(lab.cell("adalora"))
    assert lab.train(cell, tmp_path / "out", Moment("step", 5), before=_running_backwards) == EXIT_TRY_AGAIN
    for number, folder in enumerate(sorted(lab.checkpoints().glob("step-*"))):
        os.utime(folder, (4e9 - 1e6 * number, 4e9 - 1e6 * number))  # the older one looks newer
    assert lab.train(cell, tmp_path / "out", before=_running_backwards) == 0
    training = record_of(tmp_path / "out").training
    assert training is not None
    assert training.resumed_at == (5,)
    seconds = training.seconds
    assert 0 < seconds.training < 100
    assert 0 < seconds.startup < 100
    assert seconds.parts_of_startup is not None
    parts = seconds.parts_of_startup.model_dump()
    assert min(parts.values()) > 0
    assert sum(parts.values()) == pytest.approx(seconds.startup)
    assert 0 <= seconds.evaluation < 100
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)


def _running_backwards() -> None:
    """Each look at the clock shows an hour less."""
    now = [time.time()]

    def earlier() -> float:
        now[0] -= 3600
        return now[0]

    time.time = earlier
