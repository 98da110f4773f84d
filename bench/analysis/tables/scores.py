"""Tables of scores: the methods side by side at each budget, one row per task, metric and split.

`marks.py` decides what is bold.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.footnotes import comparison_notes, footnotes
from bench.analysis.published import Place, Published
from bench.analysis.results import Results, metric_value
from bench.analysis.stats.comparison import Comparer, Comparison
from bench.analysis.stats.paired import sign_flip_floor
from bench.analysis.tables import parameters
from bench.analysis.tables.marks import ALPHA, contrast_at, mark_best
from bench.analysis.tables.model import Column, Entry, Table, summary_entry, text_entry
from bench.analysis.wording import DASH, FAILURE_WORDS, budget_text, metric_name, points_text

HEADS = (Column("task", head=True), Column("metric", head=True), Column("split", head=True))
DIGITS = range(2, 8)  # decimals of an interval


def score_table(
    comparer: Comparer,
    name: str,
    title: str,
    methods: Sequence[str],
    published: Published,
    *,
    differences: bool = False,
) -> Table:
    """The scores of `methods`, with published numbers beside them where there are any.

    With `differences`, each budget ends with the difference of the second method to the first and its interval.
    Raises BenchError for predictions that do not match their record.
    """
    results = comparer.results.restricted_to(methods)
    places: list[Place] = [
        (task.name, metric, split, budget)
        for task in results.tasks.values()
        for split in task.data.evaluation
        for metric in task.metrics
        for budget in results.budgets
    ]
    # Filled first, marked next, and placed in columns last, since the marks depend on all entries of a row.
    entries = {(place, method): score_entry(results, place, method) for place in places for method in methods}
    mark_notes = mark_best(comparer, places, methods, entries)

    columns = list(HEADS)
    rows = {
        (task, metric, split): [
            text_entry(results.task_labels[task]),
            text_entry(metric_name(metric)),
            text_entry(split),
        ]
        for task, metric, split, _ in places
    }
    sizes = {
        task: [text_entry(text) for text in (results.task_labels[task], *parameters.ROW)] for task in results.tasks
    }
    compared: list[Comparison] = []
    for budget in results.budgets:
        group = budget_text(budget, results.study.study.budgets[budget])
        places_here = [place for place in places if place[3] == budget]
        planned = results.methods_at(budget)
        for method in methods:
            if method not in planned:  # no column for a method that the study does not run at this budget
                continue
            columns.append(Column(results.labels[method], group, measured=True))
            for place in places_here:
                rows[place[:3]].append(entries[place, method])
            for task, row in sizes.items():
                row.append(parameters.parameters_entry(results, task, method, budget))
            numbers = {place: published_entry(published, place, method) for place in places_here}
            # No column of dashes where nothing is published.
            if any(entry.value is not None for entry in numbers.values()):
                columns.append(Column(f"{results.labels[method]}, published", group, measured=True))
                for place in places_here:
                    rows[place[:3]].append(numbers[place])
                for row in sizes.values():
                    row.append(text_entry(""))
        if differences:
            columns.append(Column("difference [95%] (n)", group, interval=True))
            for place in places_here:
                comparison = comparer.compare(contrast_at(place, methods[0], methods[1]))
                rows[place[:3]].append(difference_entry(comparison))
                compared.extend([comparison] if comparison else [])
            for row in sizes.values():
                row.append(text_entry(""))
    return Table(
        name=name,
        title=f"{title}: points (fraction × 100), mean ± sd over seeds (n)",
        columns=tuple(columns),
        rows=tuple(
            tuple(row)
            for task, size in sizes.items()
            for row in (*(row for place, row in rows.items() if place[0] == task), size)
        ),
        footnotes=(
            *mark_notes,
            *_notes(results, compared),
            parameters.NOTE,
            *comparison_notes(results, compared),
            *footnotes(results),
            *published.notes(places, results),
        ),
    )


def score_entry(results: Results, place: Place, method: str) -> Entry:
    """Mean ± sd (n) of the scores in points, and in words how many seeds failed or are missing."""
    task, metric, split, budget = place
    planned, records = results.seeds_planned(task, method, budget), results.records_of(task, method, budget)
    if not planned:
        return text_entry("")
    points: list[float] = []
    faults: list[str] = []
    for record in records:
        value = metric_value(record, split, metric)
        if value is not None:
            points.append(100 * value)
        else:
            faults.append("undefined" if record.status == "ok" else FAILURE_WORDS[record.status])
    # A single failed seed of one needs no count: "OOM" instead of "1 of 1 OOM".
    counted = points or planned > 1
    remarks = [f"{faults.count(fault)} of {planned} {fault}" if counted else fault for fault in dict.fromkeys(faults)]
    missing = planned - len(records)
    if missing and records:  # where all are missing, the dash says it already
        remarks.append(f"{missing} of {planned} missing")
    return summary_entry(points, remark=", ".join(remarks))


def difference_entry(comparison: Comparison | None, *, with_n: bool = True) -> Entry:
    """'+1.20 [−0.10, +2.50] (5)' in points, over 5 paired seeds; without brackets if there is no interval."""
    if comparison is None:
        return Entry(DASH)
    interval, seeds = comparison.interval, len(comparison.seeds)
    text, low, high = points_text(comparison.difference), None, None
    if interval is not None:
        # More than two decimals only where two would make the bounds equal, as those of a very small difference.
        digits = next((d for d in DIGITS if points_text(interval.low, d) != points_text(interval.high, d)), DIGITS[-1])
        text, low_text, high_text = (
            points_text(x, digits) for x in (comparison.difference, interval.low, interval.high)
        )
        text += f" [{low_text}, {high_text}]"
        low, high = 100 * interval.low, 100 * interval.high
    if with_n:
        text += f" ({seeds})"
    return Entry(text, 100 * comparison.difference, low=low, high=high, n=seeds)


def published_entry(published: Published, place: Place, method: str) -> Entry:
    """The published number with its seeds, or a dash."""
    number = published.find(place, method)
    return Entry(DASH) if number is None else Entry(number.text, number.points)


def _notes(results: Results, compared: Sequence[Comparison]) -> list[str]:
    """How to read the table, given how many seeds there are. `compared`: its differences."""
    notes = []
    most = max((results.seeds_planned(*group) for group in results.groups), default=0)
    if most > 1 and any(len(comparison.seeds) == 1 for comparison in compared):
        notes.append("A difference over one paired seed holds for those two trained models, not for the methods.")
    if most > 1 and sign_flip_floor(most) > ALPHA:
        notes.append(
            f"With {most} paired seeds an exact sign-flip test cannot fall below p = {sign_flip_floor(most):.4g}."
        )
    return notes
