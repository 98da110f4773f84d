"""Write the trials and final cells of a study with tuning as if they had been trained, with known scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.config.cell import Cell, Choice
from bench.config.resolve import ResolvedStudy, load_study
from bench.config.trials import trained_like
from bench.config.tuning import HELD_OUT
from bench.records.io import write_record
from bench.records.schema import Record
from bench.tuning.choose import with_choices
from helpers.records import make_record, write_cell

STEPS = 40  # of a trial that is trained to its end

# A trial's score, None (undefined), "missing", or the status of a failure.
Outcome = float | str | None


def tuned_study(*overrides: str) -> ResolvedStudy:
    """The study `tuned` with LoRA and AdaLoRA alone."""
    return load_study("tuned", ["methods=[lora, adalora]", *overrides])


def rate(cell: Cell) -> float:
    """The learning rate of a trial."""
    return cell.recipe.learning_rate


def write_trials(
    study: ResolvedStudy,
    results: Path,
    outcome: Callable[[Cell], Outcome],
    loss: Callable[[Cell, float], float | None] = lambda _cell, score: 1 - score,
    stopped: Callable[[Cell], int | None] = lambda _cell: None,
    **changes: Any,
) -> Path:
    """Write every trial of the study below results/<study>; return that folder.

    `loss` gives the loss on held-out rows by the trial and its score, `stopped` the rung at which halving stopped it.
    `changes` are fields of the records.
    """
    folder = results / study.name
    for cell in (trial for trials in study.trials.values() for trial in trials):
        found = outcome(cell)
        if isinstance(found, str):
            if found != "missing":
                write_record(make_record(cell, {}, status=found, **changes), _folder(folder, cell))
            continue
        lost = loss(cell, found or 0.0)
        record = make_record(
            cell, {HELD_OUT: dict.fromkeys(cell.task.metrics, found)}, loss={HELD_OUT: lost}, **changes
        )
        write_record(_stopped(record, cell, stopped(cell)), _folder(folder, cell))
    return folder


def write_final_cells(study: ResolvedStudy, results: Path, quality: Callable[[Cell], float] = lambda _: 0.8) -> Path:
    """Write every final cell as trained with the point that the written trials choose; return the study's folder.

    A cell without a choice takes the last point of its group, as if it had been the best.
    """
    for cell in with_choices(study, results).cells:
        write_cell(results / study.name, cell if cell.choice else with_point(study, cell, -1), quality(cell))
    return results / study.name


def with_point(study: ResolvedStudy, cell: Cell, number: int) -> Cell:
    """A final cell as if this point of its group, by number, were chosen."""
    trial = study.trials[cell.group][number]
    assert trial.trial is not None
    choice = Choice(values=trial.trial.values, by=cell.task.metric, score=0.8, trials={trial.id: "h"})
    return trained_like(cell, trial).model_copy(update={"choice": choice})


def _stopped(record: Record, cell: Cell, rung: int | None) -> Record:
    """The record of a trial that ended at this rung."""
    if rung is None or record.training is None:
        return record
    assert cell.trial is not None
    assert cell.trial.halving is not None
    steps = round(STEPS * cell.trial.halving.rungs[rung - 1])
    training = record.training.model_copy(update={"steps": steps, "stopped_at_rung": rung})
    return record.model_copy(update={"training": training})


def _folder(folder: Path, cell: Cell) -> Path:
    path = folder / "trials" / cell.id
    path.mkdir(parents=True, exist_ok=True)
    return path
