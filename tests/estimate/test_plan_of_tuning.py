"""The plan of a study that tunes: trials and final cells apart, and what halving saves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.records import ENVIRONMENT, make_record
from helpers.trials import RATES, tuned_study, write_trial

from bench.config.cell import Cell, Halving
from bench.config.resolve import ResolvedStudy
from bench.estimate.duration import forecaster
from bench.estimate.plan import plan
from bench.estimate.plan_table import show_plan
from bench.estimate.tuning_cost import expected_fraction
from bench.paths import StudyPaths
from bench.records.io import write_record
from bench.records.schema import Seconds, Training
from bench.tuning.choose import with_choices

ONE = ("tasks=[cola]", "methods=[lora]", "budgets={small: {rank: 2}}", "grids=[{budgets: [small]}]")


def planned(study: ResolvedStudy, results: Path) -> list[dict[str, Any]]:
    forecaster.cache_clear()
    return plan(study, results=results)


def training(steps: int, evaluation: float) -> Training:
    seconds = Seconds(startup=4, training=0.1 * steps, evaluation=evaluation, saving=1, total=0.1 * steps + 9)
    return Training(steps=steps, skipped_steps=0, rows=640, tokens=9600, seconds=seconds)


def record_cell(results: Path, cell: Cell) -> None:
    scores: dict[str, dict[str, float | None]] = {
        split: dict.fromkeys(cell.task.metrics, 0.5) for split in cell.task.data.evaluation
    }
    record = make_record(cell, scores, environment=ENVIRONMENT).model_copy(update={"training": training(40, 3.0)})
    folder = StudyPaths(results, cell.study).cell(cell.id).folder
    folder.mkdir(parents=True)
    write_record(record, folder)


def test_trials_and_final_cells_are_counted_apart(tmp_path: Path) -> None:
    study = tuned_study(RATES, *ONE, tuning="halving: 2")
    rows = planned(study, tmp_path)
    assert Counter(row["kind"] for row in rows) == {"trial": 4, "cell": 1}
    assert [row["cell"] for row in rows] == [*(t.id for t in study.trials["cola/lora/small"]), study.cells[0].id]
    *trials, cell = rows
    assert cell["awaits_choice"]
    assert cell["expected_steps"] == cell["steps"]
    for trial in trials:  # a quarter of the steps for all, another for two of them, and the half that is left for one
        assert trial["expected_steps"] == pytest.approx(trial["steps"] * (4 * 0.25 + 2 * 0.25 + 1 * 0.5) / 4)
        assert not trial["awaits_choice"]
    text = show_plan(rows)
    assert "\ncola/lora/small, 4 trials " in text
    assert "4 trials, 1 final cells; disk" in text
    total = 4 * trials[0]["steps"]
    assert f"successive halving: {total / 2:,.0f} of {total:,} steps of the trials, a saving of 50%" in text
    assert "final cells that await their choice: 1" in text
    # A trial leaves a record, and no adapter.
    assert cell["disk_bytes"] - trials[0]["disk_bytes"] > 4 * cell["adapter_parameters_end"][1]


def test_records_of_trials_and_of_cells_tell_the_time_of_each_other(tmp_path: Path) -> None:
    study = tuned_study(RATES, *ONE)
    first, *others = study.trials["cola/lora/small"]
    write_trial(StudyPaths(tmp_path, study.name), first, 0.5, training=training(40, 1.0))
    *trials, cell = planned(study, tmp_path)
    of_trial, of_cell = trials[0]["steps"], cell["steps"]
    assert of_trial < of_cell  # fewer rows to train on
    assert [row["seconds"] for row in trials] == pytest.approx([0.1 * of_trial + 6] * 4)
    assert cell["seconds"] == pytest.approx(0.1 * of_cell + 6)
    assert [row["taken_seconds"] is not None for row in trials] == [True, False, False, False]

    for trial in others:
        write_trial(StudyPaths(tmp_path, study.name), trial, 0.4, training=training(40, 1.0))
    chosen = with_choices(study, tmp_path).cells[0]
    record_cell(tmp_path, chosen)
    *trials, cell = planned(study, tmp_path)
    assert [row["seconds"] for row in trials] == pytest.approx([0.1 * of_trial + 6] * 4)
    assert cell["seconds"] == pytest.approx(0.1 * of_cell + 8)  # it evaluates more rows than a trial
    assert cell["taken_seconds"] == pytest.approx(13)
    assert not cell["awaits_choice"]
    text = show_plan([*trials, cell])
    hours = 4 * (0.1 * of_trial + 6), 0.1 * of_cell + 8
    share = round(100 * hours[0] / sum(hours))
    assert f"trials: 4, {hours[0] / 3600:.2f} hours; final cells: 1, {hours[1] / 3600:.2f} hours; " in text
    assert f"tuning is {share}% of the run time" in text
    assert "done: 5 cells" in text


def test_a_cell_that_awaits_its_choice_is_planned_for_the_largest_of_its_points(tmp_path: Path) -> None:
    space = "batch_size: [8, 32], learning_rate: [0.001, 0.002]"
    sizes = tuned_study(space, *ONE, "recipe.max_steps=null", "recipe.epochs=1")
    *trials, cell = planned(sizes, tmp_path)
    by_batch = {row["batch"]["rows"]: row for row in trials}
    assert cell["predicted_peak"]["total_bytes"] == by_batch[32]["predicted_peak"]["total_bytes"]
    small, large = (by_batch[rows]["job"] for rows in (8, 32))
    assert cell["job"]["mem_mb"] == max(small["mem_mb"], large["mem_mb"])
    # The cell trains on the rows that trials hold out as well, so the most steps are those of the small batch on all.
    assert cell["steps"] > by_batch[8]["steps"] > by_batch[32]["steps"]


@pytest.mark.parametrize(
    ("points", "factor", "rungs", "fraction"),
    [
        (8, 2, [0.25, 0.5], 0.5),
        (6, 2, [0.25, 0.5], (6 * 0.25 + 3 * 0.25 + 2 * 0.5) / 6),
        (9, 3, [1 / 3], (9 / 3 + 3 * 2 / 3) / 9),
        (2, 2, [0.5], 0.75),
    ],
)
def test_the_steps_that_halving_leaves(points: int, factor: int, rungs: list[float], fraction: float) -> None:
    halving = Halving(rungs=rungs, factor=factor, rivals="")
    assert expected_fraction(halving, points) == pytest.approx(fraction)
    assert expected_fraction(None, points) == 1
