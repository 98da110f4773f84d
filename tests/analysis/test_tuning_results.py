"""What is read from the records of trials: every point of every group, with its scores, and the chosen one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from helpers.records import ENVIRONMENT, study_of, write_study
from helpers.tuned import rate, tuned_study, write_final_cells, write_trials

from bench.analysis.build import make_tables
from bench.analysis.footnotes import cautions
from bench.analysis.results import read_results
from bench.analysis.tuning_panels import lead_sentences
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy

GROUP = ("sst2", "lora", "small")


@pytest.fixture(scope="module")
def study() -> ResolvedStudy:
    return tuned_study("seeds=[0]")


def test_points_have_the_values_and_scores_of_their_trials_in_the_order_in_which_they_were_drawn(
    tmp_path: Path, study: ResolvedStudy
) -> None:
    write_trials(study, tmp_path, lambda cell: 0.5 + 10 * rate(cell))
    write_final_cells(study, tmp_path)
    group = read_results(study, tmp_path).tuning.groups[GROUP]
    drawn = [trial.recipe.learning_rate for trial in study.trials["/".join(GROUP)]]
    assert [point.values for point in group.points] == [{"learning_rate": value} for value in drawn]
    assert [point.score for point in group.points] == [pytest.approx(0.5 + 10 * value) for value in drawn]
    assert group.chosen == max(group.points, key=lambda point: point.score or 0)
    assert (group.by, group.held_out_rows, group.planned, group.scored, group.complete) == ("accuracy", 200, 6, 6, True)


def test_a_score_is_the_mean_over_trial_seeds_and_none_if_one_of_them_failed(
    tmp_path: Path,
) -> None:
    two_seeds = tuned_study("seeds=[0]", "tuning.seeds=[100, 101]")
    first = two_seeds.trials["/".join(GROUP)][0].trial

    def outcome(cell: Cell) -> float | str:
        assert cell.trial is not None
        failed = cell.group == "/".join(GROUP) and cell.trial == first and cell.seed == 101
        return "diverged" if failed else 0.6 + 0.1 * (cell.seed == 101)

    write_trials(two_seeds, tmp_path, outcome)
    write_final_cells(two_seeds, tmp_path)
    group = read_results(two_seeds, tmp_path).tuning.groups[GROUP]
    assert [point.score for point in group.points] == [None, *[pytest.approx(0.65)] * 5]
    assert (group.scored, group.statuses["diverged"], group.complete) == (11, 1, True)


def test_a_missing_trial_leaves_its_group_incomplete_and_its_point_without_a_score(
    tmp_path: Path, study: ResolvedStudy
) -> None:
    missing = study.trials["/".join(GROUP)][2].id
    write_trials(study, tmp_path, lambda cell: "missing" if cell.id == missing else 0.7)
    write_final_cells(study, tmp_path)
    tuning = read_results(study, tmp_path).tuning
    group = tuning.groups[GROUP]
    assert [point.score is None for point in group.points] == [False, False, True, False, False, False]
    assert (group.complete, group.scored, group.planned) == (False, 5, 6)
    assert all(tuning.groups[other].complete for other in tuning.groups if other != GROUP)


def test_a_choice_that_trials_no_longer_tell_is_that_of_the_records(tmp_path: Path, study: ResolvedStudy) -> None:
    write_trials(study, tmp_path, lambda _: "missing")
    write_final_cells(study, tmp_path)
    results = read_results(study, tmp_path)
    last = study.trials["/".join(GROUP)][-1]
    chosen = results.tuning.groups[GROUP].chosen
    assert chosen is not None
    assert chosen.values == {"learning_rate": last.recipe.learning_rate}
    assert not results.outdated


def test_a_trial_of_another_spec_is_left_out(tmp_path: Path, study: ResolvedStudy) -> None:
    write_trials(study, tmp_path, lambda _: 0.7)
    longer = tuned_study("seeds=[0]", "recipe.max_steps=80")
    write_final_cells(longer, tmp_path)
    tuning = read_results(longer, tmp_path).tuning
    assert len(tuning.outdated) == 24
    assert not any(group.trials for group in tuning.groups.values())


def test_seconds_are_those_of_all_trials_by_device(tmp_path: Path, study: ResolvedStudy) -> None:
    write_trials(study, tmp_path, lambda _: 0.7, environment={**ENVIRONMENT, "device": "cuda"})
    write_final_cells(study, tmp_path)
    assert read_results(study, tmp_path).tuning.groups[GROUP].seconds == {"cuda": pytest.approx(6 * 11.1)}


def test_a_study_without_tuning_has_none(tmp_path: Path) -> None:
    study = study_of(1, "tasks=[sst2]", "methods=[lora]")
    write_study(study, tmp_path)
    results = read_results(study, tmp_path)
    assert not results.tuning
    assert not results.tuning.panels
    assert not lead_sentences(results)


def test_trials_are_shown_before_any_cell_is_trained(tmp_path: Path, study: ResolvedStudy) -> None:
    folder = write_trials(study, tmp_path, lambda cell: "missing" if cell.task.name == "cola" else 0.7)
    make_tables(study, tmp_path)
    rows = {tuple(line.split(",")[:2]) for line in (folder / "tables" / "tuning.csv").read_text().splitlines()[1:]}
    assert rows == {(task, label) for task in ("SST-2", "CoLA") for label in ("LoRA", "AdaLoRA")}
    assert pd.read_parquet(folder / "tables" / "tidy.parquet").empty
    assert set(pd.read_parquet(folder / "tables" / "trials.parquet")["task"]) == {"sst2"}


def test_a_cell_that_was_trained_with_another_point_than_trials_choose_now_is_left_out(
    tmp_path: Path, study: ResolvedStudy
) -> None:
    write_trials(study, tmp_path, rate)
    write_final_cells(study, tmp_path)
    assert not read_results(study, tmp_path).outdated
    write_trials(study, tmp_path, lambda cell: 0.5 if cell.method.name == "lora" and rate(cell) < 0.001 else rate(cell))
    results = read_results(study, tmp_path)
    assert results.outdated == ("sst2/lora/small/seed-0", "cola/lora/small/seed-0")
    assert "2 records answer an older spec of the study and are left out." in cautions(results)
