"""Tables of scores, narrow enough for the width of a page: one row per task, split, metric and budget, and per method.

`marks.py` decides what is bold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.analysis.footnotes import comparison_notes, footnotes
from bench.analysis.published import Place
from bench.analysis.results import Results, metric_value
from bench.analysis.stats.comparison import Comparer, Comparison
from bench.analysis.stats.paired import sign_flip_floor
from bench.analysis.tables import parameters
from bench.analysis.tables.marks import contrast_at, facts_at, mark_best
from bench.analysis.tables.model import Column, Entry, Table, summary_entry, text_entry
from bench.analysis.verdicts import ALPHA
from bench.analysis.wording import (
    DASH,
    FAILURE_WORDS,
    budget_text,
    column_unit,
    difference_text,
    direction_notes,
    interval_texts,
    split_text,
    unit_text,
)
from bench.config.metric_facts import MetricFacts

Metrics = Literal["reported", "other"]  # the first metric of each task, or the others
HEADS = (Column("task", head=True), Column("metric", head=True), Column("budget", head=True))
SUFFIXES: dict[Metrics, str] = {"reported": "", "other": "_metrics"}  # of a table's name
TITLES: dict[Metrics, str] = {"reported": "", "other": " in the other metrics of the tasks"}


@dataclass(frozen=True)
class Shown:
    """The table of methods or of a pair that is to be made: `name` without suffix, `title` without the unit."""

    name: str
    title: str
    methods: Sequence[str]
    metrics: Metrics = "reported"


def score_table(comparer: Comparer, shown: Shown) -> Table | None:
    """The scores of the methods below each other, each with its number of adapter parameters.

    Returns None where no task has such a metric. Raises BenchError for predictions that do not match their record.
    """
    results = comparer.results.restricted_to(shown.methods)
    places = places_of(results, shown.metrics)
    if not places:
        return None
    entries, mark_notes = _marked(comparer, results, places, shown.methods)
    rows = []
    for place in places:
        task, _, _, budget = place
        for method in shown.methods:
            if results.seeds_planned(task, method, budget):
                size = parameters.parameters_entry(results, task, method, budget, usual_n(results))
                rows.append(
                    (*heads_of(results, place), text_entry(results.labels[method]), entries[place, method], size)
                )
    metrics = metrics_at(results, places)
    columns = (*HEADS, Column("method", head=True), Column("score", measured=True, unit=column_unit(metrics)))
    notes = [*mark_notes, *direction_notes(metrics, differences=False)]
    return _table(results, shown, (*columns, Column("parameters", parts=parameters.SPREAD)), rows, notes, metrics)


def pair_table(comparer: Comparer, shown: Shown) -> Table | None:
    """The scores of two methods beside each other, and the difference of the second to the first with its interval.

    In the reported metric a row per task and budget has the numbers of adapter parameters. Returns and raises as
    `score_table` does.
    """
    results = comparer.results.restricted_to(shown.methods)
    places = places_of(results, shown.metrics)
    if not places:
        return None
    first, second = shown.methods
    # Of two methods the difference says whether they can be told apart.
    entries, mark_notes = _marked(comparer, results, places, shown.methods, ties=False)
    rows: list[tuple[Entry, ...]] = []
    compared: list[Comparison] = []
    for task in results.tasks:
        for place in (place for place in places if place[0] == task):
            comparison = comparer.compare(contrast_at(place, first, second))
            compared.extend([comparison] if comparison else [])
            difference = difference_entry(comparison, usual=usual_n(results))
            rows.append((*heads_of(results, place), entries[place, first], entries[place, second], difference))
        for budget in results.budgets if shown.metrics == "reported" else ():
            sizes = [parameters.parameters_entry(results, task, m, budget, usual_n(results)) for m in shown.methods]
            heads = (results.task_labels[task], parameters.ROW, budget)
            rows.append((*map(text_entry, heads), *sizes, text_entry("")))
    metrics = metrics_at(results, places)
    unit = column_unit(metrics)
    scores = [Column(results.labels[method], measured=True, unit=unit) for method in shown.methods]
    columns = (*HEADS, *scores, Column("difference [95%]", interval=True, unit=unit))
    notes = [*mark_notes, *direction_notes(metrics), *comparison_notes(results, compared)]
    return _table(results, shown, columns, rows, notes, metrics, compared)


def usual_n(results: Results) -> int:
    """How many seeds the study asks for, at most, per task, method and budget."""
    return max((results.seeds_planned(*group) for group in results.groups), default=0)


def over_seeds(n: int) -> str:
    """What the title says of the numbers in a table of scores."""
    return f"mean ± sd over {n} seeds, (n) where fewer" if n > 1 else "of one seed"


def budgets_note(results: Results) -> str:
    """The budgets, and the splits that scores are of."""
    budgets = [budget_text(name, results.study.study.budgets[name]) for name in results.budgets]
    splits: dict[str, list[str]] = {}
    for task in results.tasks.values():
        splits.setdefault(" and ".join(task.data.evaluation), []).append(task.label)
    scored = [f"{split} ({', '.join(tasks)})" for split, tasks in splits.items()]
    return f"Budgets: {', '.join(budgets)}. Scored on {'; '.join(scored)}."


def places_of(results: Results, metrics: Metrics) -> list[Place]:
    """Every place that the study has scores for, in the order of the tables."""
    return [
        (task.name, metric, split, budget)
        for task in results.tasks.values()
        for metric in (task.metrics[:1] if metrics == "reported" else task.metrics[1:])
        for split in task.data.evaluation
        for budget in results.budgets
        if any(results.seeds_planned(task.name, method, budget) for method in results.labels)
    ]


def metrics_at(results: Results, places: Sequence[Place]) -> list[MetricFacts]:
    """The metrics of these places."""
    return [facts_at(results, place) for place in places]


def heads_of(results: Results, place: Place) -> tuple[Entry, Entry, Entry]:
    """The fields that name the place, for the columns HEADS."""
    task, _, split, budget = place
    return (
        text_entry(split_text(results.tasks[task], split)),
        text_entry(facts_at(results, place).label),
        text_entry(budget),
    )


def _marked(
    comparer: Comparer, results: Results, places: Sequence[Place], methods: Sequence[str], *, ties: bool = True
) -> tuple[dict[tuple[Place, str], Entry], list[str]]:
    """The entries by place and method, the best ones bold and with `ties` these marked, and notes on the marks."""
    usual = usual_n(results)
    entries = {(place, m): score_entry(results, place, m, usual=usual) for place in places for m in methods}
    notes = mark_best(comparer, places, methods, entries, ties=ties)
    return entries, notes


def _table(
    results: Results,
    shown: Shown,
    columns: Sequence[Column],
    rows: Sequence[tuple[Entry, ...]],
    notes: Sequence[str],
    metrics: Sequence[MetricFacts],
    compared: Sequence[Comparison] = (),
) -> Table:
    title = f"{shown.title}{TITLES[shown.metrics]}: {unit_text(metrics)}, {over_seeds(usual_n(results))}"
    return Table(
        name=f"{shown.name}{SUFFIXES[shown.metrics]}",
        title=title,
        columns=tuple(columns),
        rows=tuple(rows),
        footnotes=(
            *notes,
            *_notes(results, compared),
            budgets_note(results),
            *([parameters.NOTE] if shown.metrics == "reported" else []),
            *footnotes(results),
        ),
    )


def score_entry(results: Results, place: Place, method: str, *, usual: int | None = None) -> Entry:
    """Mean ± sd (n) of the scores in the unit of tables, and in words how many seeds failed or are missing.

    The n is left out where it is the `usual` one.
    """
    task, metric, split, budget = place
    planned, records = results.seeds_planned(task, method, budget), results.records_of(task, method, budget)
    if not planned:
        return text_entry("")
    facts = facts_at(results, place)
    shown: list[float] = []
    faults: list[str] = []
    for record in records:
        value = metric_value(record, split, metric)
        if value is not None:
            shown.append(facts.shown(value))
        else:
            faults.append("undefined" if record.status == "ok" else FAILURE_WORDS[record.status])
    # A single failed seed of one needs no count: "OOM" instead of "1 of 1 OOM".
    counted = shown or planned > 1
    remarks = [f"{faults.count(fault)} of {planned} {fault}" if counted else fault for fault in dict.fromkeys(faults)]
    missing = planned - len(records)
    if missing and records:  # where all are missing, the dash says it already
        remarks.append(f"{missing} of {planned} missing")
    return summary_entry(shown, facts.digits, remark=", ".join(remarks), usual=usual)


def difference_entry(comparison: Comparison | None, *, usual: int | None = None) -> Entry:
    """'+1.20 [−0.10, +2.50] (5)' in the unit of tables, over 5 paired seeds; without brackets if there is no interval.

    The number of seeds is left out where it is the `usual` one.
    """
    if comparison is None:
        return Entry(DASH)
    interval, seeds, facts = comparison.interval, len(comparison.seeds), comparison.facts
    text, low, high = difference_text(facts, comparison.difference), None, None
    if interval is not None:
        text = " ".join(interval_texts(facts, comparison.difference, interval.low, interval.high))
        low, high = facts.shown(interval.low), facts.shown(interval.high)
    if seeds != usual:
        text += f" ({seeds})"
    return Entry(text, facts.shown(comparison.difference), low=low, high=high, n=seeds)


def _notes(results: Results, compared: Sequence[Comparison]) -> list[str]:
    """How to read the table, given how many seeds there are. `compared`: its differences."""
    notes = []
    most = usual_n(results)
    if most > 1 and any(len(comparison.seeds) == 1 for comparison in compared):
        notes.append("A difference over one paired seed holds for those two trained models, not for the methods.")
    if most > 1 and sign_flip_floor(most) > ALPHA:
        notes.append(
            f"With {most} paired seeds an exact sign-flip test cannot fall below p = {sign_flip_floor(most):.4g}."
        )
    return notes
