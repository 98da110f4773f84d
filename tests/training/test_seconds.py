"""What is evaluated between the steps is no training time, and is kept over interruptions like it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.small_cells import Lab, Moment, record_of

from bench.config.cell import Cell
from bench.errors import EXIT_TRY_AGAIN
from bench.records.schema import Seconds

LATE = 1000.0  # seconds that one evaluation, or one held-out loss, takes by the clock of `_slow_evaluation`


def _seconds(out: Path) -> Seconds:
    training = record_of(out).training
    assert training is not None
    return training.seconds


def _lines_with(out: Path, key: str) -> int:
    return sum(key in json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines())


def _are(seconds: Seconds, evaluations: int) -> bool:
    return 0 < seconds.training < LATE / 5 and 0 <= seconds.evaluation - evaluations * LATE < LATE / 5


def test_scores_of_epochs(lab: Lab, tmp_path: Path) -> None:
    cell, out = lab.prepare(lab.cell("adalora", score_epochs=True)), tmp_path / "out"
    assert lab.train(cell, out, every=None, before=_slow_evaluation) == 0
    assert _lines_with(out, "scores") == 3
    seconds = _seconds(out)
    assert _are(seconds, 3 + 1), seconds
    parts = (seconds.startup, seconds.training, seconds.evaluation, seconds.saving)
    assert seconds.total == pytest.approx(sum(parts))


def test_scores_of_epochs_before_an_interruption(lab: Lab, tmp_path: Path) -> None:
    cell, out = lab.prepare(lab.cell("lora", score_epochs=True)), tmp_path / "out"
    assert lab.train(cell, out, Moment("step", 6), every=None, before=_slow_evaluation) == EXIT_TRY_AGAIN
    assert lab.train(cell, out, every=None, before=_slow_evaluation) == 0
    assert _are(_seconds(out), 3 + 1), _seconds(out)


def _held_out(lab: Lab, method: str, **recipe: Any) -> Cell:
    return lab.cell(method, rank=4, rows=60, holdout_rows=12, **recipe)


def test_held_out_losses_that_choose_the_best_step(lab: Lab, tmp_path: Path) -> None:
    cell, out = _held_out(lab, "lora", validations=6).model_copy(update={"selection": "best"}), tmp_path / "out"
    assert lab.train(lab.prepare(cell), out, every=None, before=_slow_evaluation) == 0
    assert _are(_seconds(out), 6 + 2), _seconds(out)  # the last step and the best one


def test_held_out_losses_that_an_allocator_watches(lab: Lab, tmp_path: Path) -> None:
    cell, out = lab.prepare(_held_out(lab, "plateau")), tmp_path / "out"
    assert lab.train(cell, out, every=None, before=_slow_evaluation) == 0
    watched = _lines_with(out, "held_out_loss")
    assert watched > 0
    assert _are(_seconds(out), watched + 1), _seconds(out)


def test_a_training_that_fails_tells_what_it_evaluated(lab: Lab, tmp_path: Path) -> None:
    """One step an epoch, each scored; the third loss is not finite."""
    cell = lab.cell("lora", batch_size=48, epochs=6, score_epochs=True, learning_rate=1e37, gradient_clip=None)
    out = tmp_path / "out"
    assert lab.train(lab.prepare(cell), out, before=_slow_evaluation) == 0
    assert record_of(out).status == "diverged"
    assert _are(_seconds(out), _lines_with(out, "scores")), _seconds(out)


def _slow_evaluation() -> None:
    """By the clock of this process whatever is evaluated takes `LATE` seconds."""
    import time

    import bench.training.evaluation
    from bench.training.holdout import HeldOut

    clock, late = time.monotonic, [0.0]

    def slow(evaluate: Any) -> Any:
        def evaluated(*args: Any, **kwargs: Any) -> Any:
            late[0] += LATE
            return evaluate(*args, **kwargs)

        return evaluated

    time.monotonic = lambda: clock() + late[0]
    bench.training.evaluation.evaluate = slow(bench.training.evaluation.evaluate)
    HeldOut.loss = slow(HeldOut.loss)  # type: ignore[method-assign]
