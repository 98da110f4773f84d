"""Interrupted equals uninterrupted, bit for bit: curve, predictions, adapter, and the record apart from times."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.small_cells import METHODS, Lab, Moment, outcome, record_of

from bench.config.cell import Cell
from bench.errors import EXIT_TRY_AGAIN

Undisturbed = Callable[[Lab, Cell], dict[str, Any]]
PHASES = {"initial": 2, "decay": 6, "frozen": 10}


@pytest.mark.parametrize("step", PHASES.values(), ids=PHASES)
@pytest.mark.parametrize("method", METHODS)
def test_a_signal_in_any_phase(lab: Lab, tmp_path: Path, undisturbed: Undisturbed, method: str, step: int) -> None:
    cell, out = lab.prepare(lab.cell(method)), tmp_path / "out"
    assert lab.train(cell, out, Moment("step", step), every=None) == EXIT_TRY_AGAIN
    assert not (out / "record.json").exists()
    assert lab.train(cell, out, every=None, attempt=2) == 0
    assert record_of(out).training.resumed_at == (step,)
    assert outcome(out) == undisturbed(lab, cell)


@pytest.mark.parametrize("method", METHODS)
def test_twice_in_a_row_and_once_more_in_the_evaluation(
    lab: Lab, tmp_path: Path, undisturbed: Undisturbed, method: str
) -> None:
    cell, out = lab.prepare(lab.cell(method)), tmp_path / "out"
    for moment in (Moment("step", 5), Moment("step", 4), Moment("evaluation", 1)):
        assert lab.train(cell, out, moment, every=None) == EXIT_TRY_AGAIN
    assert lab.train(cell, out) == 0
    assert record_of(out).training.resumed_at == (5, 9, 12)
    assert outcome(out) == undisturbed(lab, cell)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_in_the_middle_of_an_accumulation(lab: Lab, tmp_path: Path, undisturbed: Undisturbed, number: int) -> None:
    cell, out = lab.prepare(lab.cell("adalora", accumulation=3)), tmp_path / "out"
    assert lab.train(cell, out, Moment("micro-batch", 17, number), every=None) == EXIT_TRY_AGAIN
    assert lab.train(cell, out) == 0
    assert record_of(out).training.resumed_at == (6,)
    assert outcome(out) == undisturbed(lab, cell)


@pytest.mark.parametrize("micro_batch", [12, 13, 14])
def test_killed_around_the_end_of_an_epoch(
    lab: Lab, tmp_path: Path, undisturbed: Undisturbed, micro_batch: int
) -> None:
    cell, out = lab.prepare(lab.cell("qlora_adalora", accumulation=3)), tmp_path / "out"
    assert lab.train(cell, out, Moment("micro-batch", micro_batch, signal.SIGKILL)) == -signal.SIGKILL
    assert lab.train(cell, out) == 0
    assert outcome(out) == undisturbed(lab, cell)


def test_questions_interrupted_between_the_windows_of_an_example(
    questions: Lab, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    cell, out = questions.prepare(questions.cell("adalora", rows=24)), tmp_path / "out"
    assert questions.train(cell, out, Moment("step", 7), every=None) == EXIT_TRY_AGAIN
    assert questions.train(cell, out, Moment("evaluation", 2, signal.SIGKILL), every=None) == -signal.SIGKILL
    assert questions.train(cell, out) == 0
    assert outcome(out) == undisturbed(questions, cell)


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_summaries_interrupted_while_they_are_generated(
    summaries: Lab, tmp_path: Path, undisturbed: Undisturbed, method: str
) -> None:
    cell, out = summaries.prepare(summaries.cell(method)), tmp_path / "out"
    assert summaries.train(cell, out, Moment("step", 7), every=None) == EXIT_TRY_AGAIN
    assert summaries.train(cell, out, Moment("evaluation", 2, signal.SIGKILL), every=None) == -signal.SIGKILL
    assert summaries.train(cell, out) == 0
    assert outcome(out) == undisturbed(summaries, cell)


def test_the_same_cell_twice_is_the_same_and_another_seed_is_not(
    lab: Lab, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    cell, other = lab.prepare(lab.cell("adalora")), lab.cell("adalora", seed=1)
    for name, which in (("again", cell), ("other", other)):
        assert lab.train(which, tmp_path / name) == 0
    first, again, third = undisturbed(lab, cell), outcome(tmp_path / "again"), outcome(tmp_path / "other")
    assert again == first
    assert third["files"]["curve.jsonl"] != first["files"]["curve.jsonl"]


def test_a_recorded_cell_is_left_as_it_is(lab: Lab, tmp_path: Path) -> None:
    cell, out = lab.prepare(lab.cell("lora")), tmp_path / "out"
    assert lab.train(cell, out) == 0
    before = (out / "record.json").stat().st_mtime_ns
    assert lab.train(cell, out, Moment("step", 1, signal.SIGKILL)) == 0  # it never comes to a first step
    assert (out / "record.json").stat().st_mtime_ns == before
    assert not list((lab.cache / "checkpoints").iterdir())
