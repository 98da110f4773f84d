"""Fault 26: constant predictions have MCC 0 and an undefined correlation, and never a NaN."""

from __future__ import annotations

from helpers.small_cells import Lab

from bench.config.task import Task
from bench.evaluation.metrics import score


def test_mcc_is_zero(lab: Lab) -> None:
    task = lab.cell().task
    assert score(task, [1, 1, 1, 1], [0, 1, 1, 0]) == {"mcc": 0.0, "accuracy": 0.5}
    assert score(task, [1, 1], [1, 1]) == {"mcc": 0.0, "accuracy": 1.0}


def test_a_correlation_is_undefined() -> None:
    task = Task(
        name="stsb",
        kind="regression",
        data={"hub": "a/b", "columns": {"text": ["t"], "target": "y"}},
        metrics=["pearson", "spearman", "mean_correlation"],
    )
    undefined = {"pearson": None, "spearman": None, "mean_correlation": None}
    assert score(task, [0.3, 0.3, 0.3], [1.0, 2.0, 3.0]) == undefined
    assert score(task, [0.1, 0.2, 0.3], [2.0, 2.0, 2.0]) == undefined
    assert score(task, [0.3], [1.0]) == undefined
    assert score(task, [float("nan"), 0.2, 0.3], [1.0, 2.0, 3.0]) == undefined
