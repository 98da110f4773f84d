"""The figures of a tuning show its points, its choices and its curves."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.trials import write_trial
from helpers.tuned import rate, tuned_study, write_trials
from matplotlib.figure import Figure

from bench.analysis.figures.style import save
from bench.analysis.figures.tuning import tuning_figures
from bench.analysis.results import Results
from bench.analysis.tuning_results import PointResult, read_tuning
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy, load_study
from bench.paths import StudyPaths
from bench.tuning.choose import with_choices

BOTTOM = 0.2  # of an axis; marks of points without a score are below it
DIVERGES = 0.02  # from this learning rate on


def peak(trial: Cell) -> float | str:
    """AdaLoRA's best learning rate is higher; both diverge at the upper end."""
    if rate(trial) > DIVERGES:
        return "diverged"
    return 0.8 - 0.2 * (math.log10(rate(trial)) + (2.2 if trial.method.name == "adalora" else 2.8)) ** 2


def results_of(study: ResolvedStudy, folder: Path) -> Results:
    """What the trials below `folder` came to; no final cell is trained."""
    paths = StudyPaths(folder, study.name)
    chosen = with_choices(study, folder)
    return Results(chosen, {}, paths, tuning=read_tuning(chosen, paths))


def drawn(study: ResolvedStudy, folder: Path, outcome: Any = peak) -> dict[str, Figure]:
    """The figures of a study whose trials have these outcomes."""
    write_trials(study, folder, outcome)
    return figures_of(results_of(study, folder))


def points_of(results: Results, task: str = "sst2") -> list[PointResult]:
    return [point for group in results.tuning.groups.values() if group.group[0] == task for point in group.points]


def figures_of(results: Results) -> dict[str, Figure]:
    return {name: figure for name, _, figure in tuning_figures(results)}


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def marks_of(axis: Any, marker: str) -> list[tuple[float, float]]:
    """The places of all single marks of this kind."""
    lines = [line for line in axis.lines if line.get_marker() == marker and len(line.get_xdata()) == 1]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


def rings_of(axis: Any) -> list[tuple[float, float]]:
    return [tuple(map(float, place)) for ring in axis.collections for place in ring.get_offsets()]


def test_the_score_over_the_learning_rate_has_every_point_and_rings_the_chosen_ones(tmp_path: Path) -> None:
    study = tuned_study("tasks=[sst2]")
    axis = drawn(study, tmp_path)["tuning-sst2"].axes[0]
    results = results_of(study, tmp_path)
    scored = [(p.values["learning_rate"], 100 * p.score) for p in points_of(results) if p.score is not None]
    assert sorted(marks_of(axis, "o") + marks_of(axis, "s")) == sorted(scored)
    assert 0 < len(scored) < len(points_of(results))
    chosen = [group.chosen for group in results.tuning.groups.values()]
    assert rings_of(axis) == [(c.values["learning_rate"], 100 * (c.score or 0.0)) for c in chosen if c]
    assert len(rings_of(axis)) == 2
    assert (axis.get_xscale(), axis.get_xlabel()) == ("log", "learning rate")
    assert axis.get_ylabel() == "held-out accuracy × 100"


def test_powers_on_an_axis_are_plain_text(tmp_path: Path) -> None:
    """A formula would not be read in the style of the figures, in which a dollar is one."""
    wide = "tuning.space.learning_rate={from: 1.0e-5, to: 1.0e-1, scale: log}"
    figure = drawn(tuned_study("tasks=[sst2]", wide), tmp_path)["tuning-sst2"]
    figure.draw_without_rendering()
    axis = figure.axes[0]
    low, high = axis.get_xlim()
    shown = [label.get_text() for label in axis.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert len(shown) > 1
    assert all(re.fullmatch(r"10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", text) for text in shown), shown


def test_diverged_points_are_crosses_at_the_bottom_that_do_not_hide_each_other(tmp_path: Path) -> None:
    figure = drawn(tuned_study("tasks=[sst2]"), tmp_path)["tuning-sst2"]
    crosses = marks_of(figure.axes[0], "x")
    assert len(crosses) == len(set(crosses)) == 2
    assert all(x > DIVERGES and 0 < y < BOTTOM for x, y in crosses)
    assert legend_of(figure) == ["LoRA", "AdaLoRA", "chosen", "no score"]


def test_points_whose_trials_are_not_recorded_are_left_out(tmp_path: Path) -> None:
    study = tuned_study("tasks=[sst2]")
    figures = drawn(study, tmp_path, lambda trial: peak(trial) if rate(trial) < 0.001 else "missing")
    axis = figures["tuning-sst2"].axes[0]
    recorded = [point for point in points_of(results_of(study, tmp_path)) if point.complete]
    assert sum(len(marks_of(axis, kind)) for kind in "osx") == len(recorded) == 2
    assert "chosen" not in legend_of(figures["tuning-sst2"])
    assert drawn(study, tmp_path / "none", lambda _: "missing") == {}


def test_several_keys_have_a_panel_each_and_no_line(tmp_path: Path) -> None:
    space = "tuning.space={learning_rate: {from: 1.0e-4, to: 1.0e-2, scale: log}, batch_size: [8, 16, 32]}"
    figure = drawn(tuned_study("tasks=[sst2]", space), tmp_path)["tuning-sst2"]
    rates, batches = figure.axes
    assert [axis.get_xlabel() for axis in figure.axes] == ["learning rate", "batch size"]
    assert [label.get_text() for label in batches.get_xticklabels()] == ["8", "16", "32"]
    assert not [line for line in rates.lines if len(line.get_xdata()) > 2]
    places = [x for kind in "os" for x, _ in marks_of(batches, kind)]
    assert {round(x) for x in places} == {0, 1, 2}


def test_a_grid_has_no_tuning_curve_but_its_points(tmp_path: Path) -> None:
    grid = tuned_study("tasks=[sst2]", "tuning.space={learning_rate: [0.001, 0.004]}", "tuning.trials=null")
    figures = drawn(grid, tmp_path)
    assert list(figures) == ["tuning-sst2"]
    assert [label.get_text() for label in figures["tuning-sst2"].axes[0].get_xticklabels()] == ["0.001", "0.004"]


def test_points_that_halving_stopped_are_pale_and_have_no_curve(tmp_path: Path) -> None:
    study = tuned_study("tasks=[sst2]", "tuning.halving=2")
    for trials in study.trials.values():
        for index, trial in enumerate(trials):
            rung = None if index < 2 else 1
            write_trial(StudyPaths(tmp_path, study.name), trial, 0.5 + 0.01 * index, stopped_at_rung=rung)
    figures = figures_of(results_of(study, tmp_path))
    assert list(figures) == ["tuning-sst2"]
    axis = figures["tuning-sst2"].axes[0]
    pale = [line for line in axis.lines if line.get_alpha() is not None and line.get_alpha() < 1]
    assert len([line for line in pale if len(line.get_xdata())]) == 8
    assert legend_of(figures["tuning-sst2"]) == ["LoRA", "AdaLoRA", "chosen", "stopped early"]


def test_tuning_curves_have_a_panel_per_task_and_budget_and_a_line_per_method(tmp_path: Path) -> None:
    study = tuned_study("tasks=[sst2, cola]", "budgets={small: {rank: 2}, large: {rank: 4}}")
    figure = drawn(study, tmp_path)["tuning-curves"]
    shown = [axis for axis in figure.axes if axis.get_visible()]
    titles = ["SST-2, small", "SST-2, large", "CoLA, small", "CoLA, large"]
    assert [axis.get_title() for axis in shown] == titles
    assert legend_of(figure) == ["LoRA", "AdaLoRA"]
    line = next(line for line in shown[0].lines if line.get_label() == "LoRA")
    assert list(line.get_xdata()) == [1, 2, 3, 4, 5, 6]
    group = results_of(study, tmp_path).tuning.groups["sst2", "lora", "small"]
    assert line.get_ydata()[-1] == 100 * max(point.score or 0.0 for point in group.points)


def test_a_study_that_does_not_tune_has_none_of_these_figures(tmp_path: Path) -> None:
    plain = load_study("demo", ["tasks=[sst2]", "methods=[lora]"])
    assert figures_of(Results(plain, {}, StudyPaths(tmp_path, plain.name))) == {}


def test_one_recorded_trial_has_a_band_over_the_whole_axis(tmp_path: Path) -> None:
    study = tuned_study("tasks=[sst2]", "methods=[lora]")
    first = next(iter(study.trials.values()))[0]
    axis = drawn(study, tmp_path, lambda trial: 0.8 if trial.id == first.id else "missing")["tuning-curves"].axes[0]
    edges = axis.patches[0].get_path().get_extents()
    assert (edges.x0, edges.x1) == axis.get_xlim() == (0.5, 1.5)
    assert edges.y0 < axis.get_ylim()[0] < 80 < axis.get_ylim()[1] < edges.y1
    assert [tick for tick in axis.get_xticks() if 0.5 <= tick <= 1.5] == [1]


@pytest.mark.parametrize(
    ("score", "by"),
    [("diverged", "metric"), ("diverged", "loss"), (1.0, "metric"), (0.5, "loss")],
    ids=["diverged", "no-loss", "perfect", "ties"],
)
def test_every_set_of_scores_can_be_drawn(score: float | str, by: str, tmp_path: Path) -> None:
    figures = drawn(tuned_study("tasks=[sst2]", f"tuning.choose_by={by}"), tmp_path, lambda _: score)
    assert list(figures) == ["tuning-curves", "tuning-sst2"]
    for name, figure in figures.items():
        assert all(file.stat().st_size > 1000 for file in save(figure, tmp_path, name))
    texts = [text.get_text() for text in figures["tuning-curves"].axes[0].texts]
    assert texts == (["no trial has a loss"] if (score, by) == ("diverged", "loss") else [])
