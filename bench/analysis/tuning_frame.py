"""The trials of a study as one tidy data frame, beside that of its cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench.analysis.tuning_results import TrialResult, TuningResults
from bench.analysis.tuning_wording import number_of, value_text
from bench.config.metric_facts import OF_LOSS

ORDER = ["task", "method", "budget", "point", "seed", "metric"]


def trial_frame(tuning: TuningResults) -> pd.DataFrame:
    """One row per recorded trial and metric, the loss as one of them; one row for a trial without any.

    `value`, on the held-out rows, is as recorded: a fraction of most metrics. `values.<key>` are those of the point:
    numbers, or text as in tables if some value of the key is no number. `chosen` tells the point of the final cells.
    """
    columns: dict[str, list[Any]] = {}  # a list per column, as in `results.tidy`
    for facts, trial in _trials(tuning):
        scores: dict[str, float | None] = dict(trial.scores)
        if trial.status == "ok":
            scores[OF_LOSS] = trial.loss
        for metric, value in scores.items() or [(None, None)]:
            for name, fact in {**facts, "metric": metric, "value": value}.items():
                columns.setdefault(name, []).append(fact)
    for name in [name for name in columns if name.startswith("values.")]:
        numbers = [number_of(value) for value in columns[name]]
        columns[name] = list(map(value_text, columns[name])) if None in numbers else numbers
    frame = pd.DataFrame(columns)
    if frame.empty:
        return frame
    return frame.astype({"stopped_at_rung": "Int64"}).sort_values(ORDER, ignore_index=True)


def _trials(tuning: TuningResults) -> Iterator[tuple[dict[str, Any], TrialResult]]:
    """Every recorded trial, and the columns that describe it."""
    for group in tuning.groups.values():
        chosen = group.chosen
        for point in group.points:
            for trial in point.trials:
                cell = trial.cell
                facts = {
                    "task": cell.task.name,
                    "backbone": cell.backbone.name,
                    "method": cell.method.name,
                    "budget": cell.budget_name,
                    "point": point.key,
                    "seed": cell.seed,
                    "status": trial.status,
                    "chosen": point is chosen,
                    **{f"values.{key}": value for key, value in point.values.items()},
                    "steps": trial.steps,
                    "stopped_at_rung": trial.stopped_at_rung,
                    "process_seconds": trial.seconds,
                    "device": trial.device,
                    "held_out_rows": group.held_out_rows,
                }
                yield facts, trial
