"""Figures and page of a study with more methods than there are colors, whose labels are long."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.records import study_of, write_study
from matplotlib.figure import Figure

from bench.analysis.build import make_figures
from bench.analysis.figures.curves import curve_figure
from bench.analysis.figures.differences import difference_figure, difference_panel
from bench.analysis.figures.scores import method_figure
from bench.analysis.figures.study_figures import study_figures
from bench.analysis.figures.style import COLORS
from bench.analysis.figures.trade_off import COSTS, trade_off_panel
from bench.analysis.page.panels import SIGNS, legend
from bench.analysis.results import Results, read_results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.verdicts import against_baseline, verdicts

METHODS = "lora, adalora, dora, rslora, qlora, qlora_adalora, truncated, truncated_end, snr, sora"  # the eighth is long


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    study = study_of(1, "tasks=[cola]", f"methods=[{METHODS}]")
    write_study(study, folder, lambda cell: 0.7 + 0.01 * len(cell.method.name))
    return read_results(study, folder)


def test_the_legend_of_the_page_has_the_marks_of_the_figures(results: Results) -> None:
    entries = legend(results)
    assert len({(entry.color, entry.sign) for entry in entries}) == len(results.labels) > len(COLORS)
    drawn = {
        bars.get_label(): (bars.lines[0].get_color(), SIGNS[bars.lines[0].get_marker()])
        for bars in trade_off_panel(results, "cola", COSTS[0]).axes[0].containers
    }
    assert {entry.label: (entry.color, entry.sign) for entry in entries} == drawn


def test_no_two_curves_look_alike(results: Results) -> None:
    lines = curve_figure(results, list(results.records.values())).axes[0].get_lines()
    looks = {(line.get_color(), json.dumps(line._unscaled_dash_pattern)) for line in lines}
    assert len(looks) == len(lines) == 20


def test_a_norm_that_was_not_finite_is_not_drawn_as_zero(tmp_path: Path) -> None:
    """Steps with such a norm are skipped, and their line of the curve has none."""
    study = study_of(1, "tasks=[cola]", "methods=[lora]")
    folder = write_study(study, tmp_path)
    for file in folder.rglob("curve.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines[::4]:
            line["gradient_norm"] = None
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = read_results(study, tmp_path)
    for line in curve_figure(results, list(results.records.values())).axes[1].get_lines():
        drawn = [value for value in line.get_ydata() if value == value]
        assert len(drawn) == 39  # the first step has none yet
        assert min(drawn) > 0.8  # the norms are 0.8 to 1.2


def test_nothing_of_a_figure_is_cut_off(results: Results) -> None:
    found = against_baseline(results, verdicts(Comparer(results)))
    every = difference_figure(results, found)
    assert every is not None
    for figure in (every, difference_panel(results, "cola", found), method_figure(results, "cola")):
        figure.set_layout_engine("constrained")  # as the style of all figures does
        edge = edges(figure)
        assert edge[0] >= 0, figure.axes[0].get_xlabel()
        assert edge[1] <= 1, figure.axes[0].get_xlabel()


def edges(figure: Figure) -> tuple[float, float]:
    """From where to where labels and axes go, as shares of the figure's width."""
    figure.draw_without_rendering()
    boxes = [axis.get_tightbbox() for axis in figure.axes]
    width = figure.bbox.width
    return min(box.x0 for box in boxes) / width, max(box.x1 for box in boxes) / width


def test_the_numbers_on_an_axis_of_costs_stand_apart(results: Results) -> None:
    """From 110,592 to 442,368 parameters: 200k alone would be a label there, and matplotlib then takes 300k, 350k..."""
    figure = trade_off_panel(results, "cola", COSTS[0])
    figure.set_layout_engine("constrained")
    figure.draw_without_rendering()
    axis = figure.axes[0]
    low, high = axis.get_xlim()
    shown = [label for label in axis.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert [label.get_text() for label in shown] == ["150k", "200k", "300k"]
    boxes = [label.get_window_extent() for label in shown]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_dollars_in_a_label_are_no_formula(tmp_path: Path) -> None:
    """What stands between two dollars need not be a formula that matplotlib knows."""
    study = study_of(1, "tasks=[cola]", "methods=[lora, adalora]")
    label = r"LoRA, $\foo$"
    cells = [
        cell.model_copy(update={"method": cell.method.model_copy(update={"label": label})})
        if cell.method.name == "lora"
        else cell
        for cell in study.cells
    ]
    study = replace(study, cells=tuple(cells))
    write_study(study, tmp_path)
    files = make_figures(study, tmp_path)
    assert len(files) > 4
    (legend_text,) = {
        text.get_text()
        for name, _, figure in study_figures(read_results(study, tmp_path))
        if name == "cola-score"
        for text in figure.legends[0].get_texts()
        if not text.get_parse_math() and text.get_text().endswith("$")
    }
    assert legend_text == label
