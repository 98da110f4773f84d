"""The choice on a made-up response surface: the best point, whatever its trials came to."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.records import write_cell
from helpers.trials import RATES, tuned_study, write_trial

from bench.analysis.results import read_results
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError
from bench.evaluation.saved import recorded_cell
from bench.paths import StudyPaths
from bench.tuning.choose import choose, chosen_cell, with_choices

GROUP = "cola/lora/small"


def rate_of(trial: Cell) -> float:
    assert trial.trial is not None
    return float(trial.trial.values["learning_rate"])


def chosen_rate(study: ResolvedStudy, folder: Path, outcome: Callable[[Cell], dict[str, Any]]) -> float | None:
    """The learning rate that is chosen for `GROUP` if each of its trials ends as `outcome` says."""
    paths = StudyPaths(folder, study.name)
    for trial in study.trials[GROUP]:
        write_trial(paths, trial, **outcome(trial))
    choice = choose(study.trials[GROUP], paths)
    return None if choice is None else choice.values["learning_rate"]


@pytest.mark.parametrize("best", [0.0011, 0.0022, 0.0037, 0.0079])
def test_the_point_nearest_to_the_top_of_the_surface_is_chosen(tmp_path: Path, best: float) -> None:
    study = tuned_study("learning_rate: {from: 0.0005, to: 0.01, scale: log}", tuning="trials: 8")

    def score(trial: Cell) -> float:
        return 0.9 - abs(math.log(rate_of(trial) / best))

    found = chosen_rate(study, tmp_path, lambda trial: {"score": score(trial)})
    nearest = min(map(rate_of, study.trials[GROUP]), key=lambda rate: abs(math.log(rate / best)))
    assert found == nearest
    choice = choose(study.trials[GROUP], StudyPaths(tmp_path, study.name))
    assert choice is not None
    assert choice.by == "mcc"
    assert choice.score == pytest.approx(0.9 - abs(math.log(nearest / best)))
    assert choice.trials == {trial.id: trial.identity("f") for trial in study.trials[GROUP]}


@pytest.mark.parametrize(
    ("ends", "rate"),
    [
        ([(0.8, 0.5), (0.9, 0.5), (0.9, 0.4), (0.7, 0.1)], 0.004),  # of equal scores the lower loss
        ([(0.8, 0.5), (0.9, 0.5), (0.9, 0.5), (0.7, 0.1)], 0.002),  # of equal losses, too, the first point
        ([(0.8, 0.5), (0.9, None), (0.9, 0.9), (0.7, 0.1)], 0.004),  # a loss that is not finite is the highest
        ([(None, 0.1), (0.0, 0.9), (None, 0.2), (-0.1, 0.1)], 0.002),  # an undefined metric is the worst
    ],
    ids=["loss", "order", "no-loss", "undefined"],
)
def test_ties_and_undefined_metrics(tmp_path: Path, ends: list[tuple[float | None, float | None]], rate: float) -> None:
    study = tuned_study()
    by_rate = dict(zip([0.001, 0.002, 0.004, 0.008], ends, strict=True))

    def ending(trial: Cell) -> dict[str, Any]:
        score, loss = by_rate[rate_of(trial)]
        return {"score": score, "loss": loss}

    assert chosen_rate(study, tmp_path, ending) == rate


@pytest.mark.parametrize("status", ["diverged", "oom", "failed"])
def test_a_trial_that_failed_is_the_worst_of_all(tmp_path: Path, status: str) -> None:
    study = tuned_study()
    failed = {"score": None, "status": status}

    def ending(trial: Cell) -> dict[str, Any]:
        return {"score": -0.9, "loss": 9.0} if rate_of(trial) == 0.004 else failed

    assert chosen_rate(study, tmp_path, ending) == 0.004
    assert chosen_rate(study, tmp_path, lambda _: failed) is None
    with pytest.raises(BenchError, match=r"cola/lora/small/seed-0: .* chosen yet: none of its 4 trials has a score"):
        chosen_cell(study, study.find("cola", "lora", "small", 0), tmp_path)


def test_with_two_trial_seeds_the_mean_decides_and_a_failed_one_is_not_averaged_away(tmp_path: Path) -> None:
    study = tuned_study(tuning="seeds: [100, 101]")
    scores = {
        0.001: (0.99, None),  # one of the two failed
        0.002: (0.98, 0.40),
        0.004: (0.70, 0.71),
        0.008: (0.40, 0.99),
    }

    def ending(trial: Cell) -> dict[str, Any]:
        score = scores[rate_of(trial)][trial.seed - 100]
        return {"score": score, "status": "diverged" if score is None else "ok"}

    assert chosen_rate(study, tmp_path, ending) == 0.004
    choice = choose(study.trials[GROUP], StudyPaths(tmp_path, study.name))
    assert choice is not None
    assert choice.score == pytest.approx(0.705)
    assert len(choice.trials) == 8


def test_means_that_differ_by_rounding_alone_are_ties(tmp_path: Path) -> None:
    # Three rows of ten right in all, however they fall on the seeds.
    study = tuned_study("learning_rate: [0.001, 0.002]", tuning="seeds: [100, 101, 102]")
    scores = {0.001: (0.1, 0.2, 0.3), 0.002: (0.3, 0.3, 0.0)}

    def ending(trial: Cell) -> dict[str, Any]:
        return {"score": scores[rate_of(trial)][trial.seed - 100], "loss": 0.5 if rate_of(trial) < 0.002 else 0.4}

    assert chosen_rate(study, tmp_path, ending) == 0.002


def test_lower_is_better_where_it_is(tmp_path: Path) -> None:
    study = tuned_study()
    by_loss = tuned_study(tuning="choose_by: loss")

    def ending(trial: Cell) -> dict[str, Any]:
        return {"score": rate_of(trial), "loss": 0.3 + rate_of(trial)}

    assert chosen_rate(study, tmp_path, ending) == 0.008
    assert chosen_rate(by_loss, tmp_path, ending) == 0.001
    choice = choose(by_loss.trials[GROUP], StudyPaths(tmp_path, by_loss.name))
    assert choice is not None
    assert choice.by == "loss"
    assert choice.score == pytest.approx(0.301)
    task = study.trials[GROUP][0].task.model_copy(update={"metrics": ["no_label"]})
    unlabelled = [trial.model_copy(update={"task": task}) for trial in study.trials[GROUP]]
    for trial in unlabelled:
        write_trial(StudyPaths(tmp_path, study.name), trial, **ending(trial))
    choice = choose(unlabelled, StudyPaths(tmp_path, study.name))
    assert choice is not None
    assert choice.values == {"learning_rate": 0.001}


def test_what_halving_stopped_is_behind_what_went_on(tmp_path: Path) -> None:
    study = tuned_study(tuning="halving: 2")
    rungs = {0.001: 1, 0.002: 1, 0.004: None, 0.008: 2}

    def ending(trial: Cell) -> dict[str, Any]:
        return {"score": 1 - 100 * rate_of(trial), "stopped_at_rung": rungs[rate_of(trial)]}

    def last_diverged(trial: Cell) -> dict[str, Any]:
        return ending(trial) if rungs[rate_of(trial)] else {"score": None, "status": "diverged"}

    assert chosen_rate(study, tmp_path, ending) == 0.004
    assert chosen_rate(study, tmp_path, last_diverged) == 0.008


def test_the_cells_of_a_group_get_its_choice_once_all_its_trials_are_recorded(tmp_path: Path) -> None:
    study = tuned_study()
    paths, first = StudyPaths(tmp_path, study.name), study.find("cola", "lora", "small", 0)
    *early, last = study.trials[GROUP]
    for trial in early:
        write_trial(paths, trial, 0.5 + rate_of(trial))
    assert choose(study.trials[GROUP], paths) is None
    assert with_choices(study, tmp_path).cells == study.cells
    with pytest.raises(BenchError, match=rf"1 of 4 trials have no record of their spec: {last.id}$"):
        chosen_cell(study, first, tmp_path)

    write_trial(paths, last, 0.1)
    resolved = with_choices(study, tmp_path)
    cell = resolved.find("cola", "lora", "small", 0)
    assert cell == chosen_cell(study, first, tmp_path)
    assert cell.recipe.learning_rate == 0.004
    assert cell.recipe == first.recipe.model_copy(update={"learning_rate": 0.004})  # it holds out no rows
    assert not resolved.awaits_choice(cell)
    assert resolved.awaits_choice(resolved.find("sst2", "lora", "small", 0))
    untuned = tuned_study("learning_rate: [0.004, 0.001]").find("cola", "lora", "small", 0)
    assert cell.spec_hash == untuned.spec_hash  # which has these values without a choice


def test_a_record_of_another_spec_is_none_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    study = tuned_study()
    paths = StudyPaths(tmp_path, study.name)
    files = [write_trial(paths, trial, 0.5) for trial in study.trials[GROUP]]
    longer = tuned_study("learning_rate: [0.001, 0.002, 0.004, 0.008]", "recipe.epochs=7")
    assert choose(study.trials[GROUP], paths) is not None
    assert choose(longer.trials[GROUP], paths) is None
    files[1].write_text(files[1].read_text().replace('"diverged"', '"ok"').replace("0.5", "0.9"))
    with pytest.raises(BenchError, match=r"record\.json: field \w+ was changed"):
        choose(study.trials[GROUP], paths)


def test_a_record_that_was_made_with_an_older_choice_is_outdated(tmp_path: Path) -> None:
    study = tuned_study(RATES, "tasks=[cola]", "methods=[lora]", "grids=[{budgets: [small]}]", "seeds=[0, 1]")
    paths = StudyPaths(tmp_path, study.name)
    for trial in study.trials[GROUP]:
        write_trial(paths, trial, 0.5 + rate_of(trial))
    first, second = with_choices(study, tmp_path).cells
    write_cell(paths.folder, first, 0.8, rows=20)
    read = recorded_cell(paths.cell(first.id).folder)  # as `bench evaluate` reads it
    assert read is not None
    assert (read.choice, read.recipe, read.spec_hash) == (first.choice, first.recipe, first.spec_hash)
    assert read_results(study, tmp_path).outdated == ()

    write_trial(paths, study.trials[GROUP][0], 0.9)
    write_cell(paths.folder, chosen_cell(study, study.find("cola", "lora", "small", 1), tmp_path), 0.8, rows=20)
    results = read_results(study, tmp_path)
    assert results.outdated == (first.id,)
    assert list(results.records) == [second.id]


def test_a_study_without_tuning_is_as_it_is(tmp_path: Path) -> None:
    study = tuned_study("learning_rate: [0.001, 0.002]", "tuning=null")
    assert with_choices(study, tmp_path).cells == study.cells
    assert chosen_cell(study, study.cells[0], tmp_path) is study.cells[0]


def test_scores_of_epochs_are_of_the_cell_alone(tmp_path: Path) -> None:
    """They are off in trials, whose hashes do not change with them, and on in the cell that takes the choice."""
    study, plain = tuned_study(RATES, "recipe.score_epochs=true"), tuned_study(RATES)
    for trial, same in zip(study.trials[GROUP], plain.trials[GROUP], strict=True):
        assert trial.spec_hash == same.spec_hash
        write_trial(StudyPaths(tmp_path, study.name), trial, rate_of(trial))
    cell = next(cell for cell in study.cells if cell.group == GROUP)
    assert chosen_cell(study, cell, tmp_path).recipe == cell.recipe.model_copy(update={"learning_rate": 0.008})


@pytest.mark.parametrize(
    ("losses", "rate"),
    [
        # 0.002 against the best, 0.004: differences of 0.01, -0.02, 0.02; mean 0.003, standard error 0.012.
        ([(0.5, 0.5, 0.5), (0.26, 0.25, 0.27), (0.25, 0.27, 0.25), (0.9, 0.9, 0.9)], 0.002),
        # Differences of 0.01, 0.02, 0.01: mean 0.013, standard error 0.003.
        ([(0.5, 0.5, 0.5), (0.26, 0.29, 0.26), (0.25, 0.27, 0.25), (0.9, 0.9, 0.9)], 0.004),
        # What stands behind the best one counts for nothing, and what failed is told apart.
        ([(0.2, None, 0.3), (0.25, 0.27, 0.25), (0.26, 0.26, 0.26), (0.9, 0.9, 0.9)], 0.002),
        ([(0.3, 0.3, 0.3), (0.3, 0.3, 0.3), (0.3, 0.3, 0.3), (0.9, 0.9, 0.9)], 0.001),
    ],
    ids=["within", "outside", "failed", "equal"],
)
def test_the_first_point_that_is_not_told_apart_from_the_best(
    tmp_path: Path, losses: list[tuple[float | None, ...]], rate: float
) -> None:
    rates = (0.001, 0.002, 0.004, 0.008)
    rule = "choose_by: loss, choose: one_standard_error, seeds: [100, 101, 102]"
    study = tuned_study("learning_rate: [0.001, 0.002, 0.004, 0.008]", tuning=rule)

    def end(trial: Cell) -> dict[str, Any]:
        loss = losses[rates.index(rate_of(trial))][trial.seed - 100]
        return {"score": 0.5, "loss": loss or 0.2, "status": "ok" if loss else "diverged"}

    assert chosen_rate(study, tmp_path, end) == rate
    best = tuned_study("learning_rate: [0.001, 0.002, 0.004, 0.008]", tuning=rule.replace("one_standard_error", "best"))
    hashes = [[trial.spec_hash for trial in one.trials[GROUP]] for one in (study, best)]
    assert hashes[0] == hashes[1]  # the rule makes no trial another one
