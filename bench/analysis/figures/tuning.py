"""The figures of a study's tuning: its tuning curves, and per task what was tried."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from bench.analysis.figures.tuned_values import tuned_value_figure
from bench.analysis.figures.tuning_curves import CurvePanel, tuning_curve_figure
from bench.analysis.results import Results
from bench.analysis.tuning_panels import curves_of
from bench.analysis.wording import scaled_text
from bench.config.metric_facts import MetricFacts


def tuning_figures(results: Results) -> Iterator[tuple[str, str, Figure]]:
    """File name, alternative text and figure; nothing for a study that has no trials of its own."""
    tuning, labels, names = results.tuning, results.labels, results.task_labels
    if tuning.tuning is None:
        return
    panels = []
    for task, budget in tuning.panels:
        groups = tuning.panel(task, budget)
        curves = {labels[method]: curve for method, curve in curves_of(tuning, groups).items()}
        if curves:
            panels.append(CurvePanel(f"{names[task]}, {budget}", *_score(next(iter(groups.values())).facts), curves))
    if panels:
        text = "held-out score to expect from the best of so many trials, by method, with 95% bands"
        yield "tuning-curves", text, tuning_curve_figure(panels, list(labels.values()))
    for task in dict.fromkeys(task for task, _ in tuning.panels):
        rows = {f"{names[t]}, {budget}": tuning.panel(t, budget) for t, budget in tuning.panels if t == task}
        points = [point for groups in rows.values() for group in groups.values() for point in group.points]
        if any(point.complete for point in points):
            by = next(group.facts for groups in rows.values() for group in groups.values())
            text = f"{names[task]}: held-out score over {' and '.join(tuning.tuning.space)}, by method; ringed: chosen"
            yield f"tuning-{task}", text, tuned_value_figure(rows, tuning.tuning.space, labels, *_score(by))


def _score(by: MetricFacts) -> tuple[str, float]:
    """How an axis names the score that points are chosen by, and what it is multiplied with."""
    return f"held-out {scaled_text(by)}", by.factor
