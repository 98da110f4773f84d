"""The table over all tasks: mean, interquartile mean and probability of improvement of every method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.analysis.footnotes import footnotes
from bench.analysis.results import Results, metric_values
from bench.analysis.stats.overall import RUNS_FOR_IMPROVEMENT, RUNS_FOR_IQM, Bounds, Floats, Summary, summarize
from bench.analysis.tables.model import Column, Entry, Table, count_entry, number_entry, text_entry
from bench.analysis.tables.parameters import RANGE_COLUMN, range_entry
from bench.analysis.wording import DASH, budget_text, number_text

COLUMNS = (
    Column("budget", head=True),
    Column("method", head=True),
    RANGE_COLUMN,
    Column("tasks"),
    Column("runs", parts=("", "remark")),
    Column("mean", unit="points"),
    Column("IQM", unit="points"),
    Column("IQM [95%]", parts=("low", "high"), unit="points"),
    Column("P(better than the first)"),
    Column("P [95%]", parts=("low", "high")),
)
NOTE = (
    "Points of each task's own metric: MCC, accuracy and ROUGE are not one quantity, so compare methods on one set of "
    "tasks only. All tasks weigh alike. IQM: mean of the middle half of a task's runs (of one or two: of all), "
    "mean over tasks. P: a run of "
    "the method beats one of the first method on the same task, mean over tasks. Adapter parameters: at the end, "
    f"fewest to most over tasks and runs. Intervals: Banerjee's of the IQM, from {RUNS_FOR_IQM} runs of every task on; "
    f"Clopper and Pearson's of P, from {RUNS_FOR_IMPROVEMENT} on; with fewer they would not hold."
)
ONE_RUN = (
    "n = 1: a task with one run shows no spread, so these numbers are of the trained models, not of the methods ({})."
)
FAILURES = "Runs that failed or are missing are in no number of their row, which may flatter it."


def overall_table(results: Results) -> Table | None:
    """One row per budget and method, over the tasks on which every method has a score.

    Returns None for a study of one task, which has nothing to summarize. Tasks whose metric is no fraction, or of which
    less is better, are left out: no mean over them and others means anything.
    """
    metrics = {name: task.metric_facts(task.metric) for name, task in results.tasks.items()}
    averaged = [name for name, facts in metrics.items() if facts.averages]
    if len(averaged) < 2:
        return None
    rows: list[tuple[Entry, ...]] = []
    left_out: list[str] = []
    one_run: list[str] = []
    for budget in results.budgets:
        methods = results.methods_at(budget)
        scores = {task: [_runs(results, task, method, budget) for method in methods] for task in averaged}
        # Means over different sets of tasks could not be compared, so a task counts only if every method has a score.
        complete = [task for task, runs_by_method in scores.items() if all(map(len, runs_by_method))]
        left_out += [f"{results.task_labels[task]} ({budget})" for task in scores if task not in complete]
        for index, method in enumerate(methods):
            summary = None
            runs = [scores[task][index] for task in complete]
            if len(complete) > 1:
                summary = summarize(runs, [scores[task][0] for task in complete])
                if min(map(len, runs)) == 1:
                    one_run.append(f"{results.labels[method]}, {budget}")
            heads = (
                text_entry(budget_text(budget, results.study.study.budgets[budget])),
                text_entry(results.labels[method]),
                range_entry(results, complete, method, budget),
                count_entry(len(complete)),
                _runs_entry(results, complete, method, budget, sum(map(len, runs))),
            )
            rows.append((*heads, *_summary_entries(summary, is_baseline=index == 0)))
    notes = [NOTE]
    if one_run:
        everywhere = len(one_run) == len(rows)
        notes.append(ONE_RUN.format("all rows" if everywhere else "; ".join(one_run)))
    if any(entry.remark for row in rows for entry in row):
        notes.append(FAILURES)
    if left_out:
        notes.append(f"Left out, since a method has no score: {', '.join(left_out)}.")
    others = [f"{results.task_labels[name]} ({facts.label})" for name, facts in metrics.items() if not facts.averages]
    if others:
        notes.append(
            f"Left out, since scores of another unit or direction have no mean with these: {', '.join(others)}."
        )
    return Table("overall", "Over tasks: points (fraction × 100)", COLUMNS, tuple(rows), (*notes, *footnotes(results)))


def _summary_entries(summary: Summary | None, *, is_baseline: bool) -> tuple[Entry, ...]:
    """The five columns after the heads. The baseline is not compared with itself."""
    dash = text_entry(DASH)
    if summary is None:
        return (dash, dash, dash, dash, dash)
    return (
        number_entry(summary.mean),
        number_entry(summary.iqm),
        _interval_entry(summary.iqm_interval),
        dash if is_baseline else number_entry(summary.improvement),
        dash if is_baseline else _interval_entry(summary.improvement_interval),
    )


def _runs(results: Results, task: str, method: str, budget: str) -> Floats:
    """The task's reported metric of every seed, in points."""
    spec = results.tasks[task]
    records = results.records_of(task, method, budget)
    facts = spec.metric_facts(spec.metric)
    return np.array([facts.shown(value) for value in metric_values(records, spec.primary_split, spec.metric)])


def _runs_entry(results: Results, tasks: Sequence[str], method: str, budget: str, runs: int) -> Entry:
    """How many runs have a score, and in words how many of the planned ones have none."""
    lost = sum(results.seeds_planned(task, method, budget) for task in tasks) - runs
    return Entry(str(runs), runs, n=runs, remark=f"{lost} failed or missing" if lost else "")


def _interval_entry(bounds: Bounds | None) -> Entry:
    if bounds is None:
        return text_entry(DASH)
    low, high = bounds
    return Entry(f"[{number_text(low)}, {number_text(high)}]", low=low, high=high)
