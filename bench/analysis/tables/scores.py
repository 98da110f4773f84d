"""Tables of scores: the methods side by side at each budget, one row per task, metric and split.

A mean is bold only if it is better than every other method of its row: each paired difference has a 95% interval
without zero over more than one seed, and the row's p stays below 5% after Holm's correction over all rows of the table.
A row claims all of its comparisons at once, so its p is the largest of theirs. Methods that cannot be told apart from
the best are marked as ties.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from bench.analysis.footnotes import footnotes
from bench.analysis.published import Place, Published
from bench.analysis.results import Results, metric_value
from bench.analysis.stats.comparison import Comparer, Comparison, Contrast
from bench.analysis.stats.paired import holm, sign_flip_floor
from bench.analysis.tables.model import Column, Entry, Table, summary_entry, text_entry
from bench.analysis.wording import DASH, FAILURE_WORDS, LOWER_IS_BETTER, TIE, budget_text, metric_name, points_text

HEADS = (Column("task", head=True), Column("metric", head=True), Column("split", head=True))
ALPHA = 0.05
Entries = dict[tuple[Place, str], Entry]  # by place and method


@dataclass(frozen=True)
class Ranking:
    """The methods of one row at one budget, best mean first, and the best compared with each of the others."""

    place: Place
    methods: list[str]
    comparisons: list[Comparison | None]

    @property
    def p(self) -> float | None:
        """The p of the claim that the first method beats all others; None if one comparison has no p."""
        p_values = [c.interval.p for c in self.comparisons if c is not None and c.interval is not None]
        return max(p_values) if len(p_values) == len(self.comparisons) else None


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
    _mark_best(comparer, places, methods, entries)

    columns = list(HEADS)
    rows = {
        (task, metric, split): [text_entry(task), text_entry(metric_name(metric)), text_entry(split)]
        for task, metric, split, _ in places
    }
    paired_seeds: set[int | None] = set()
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
            numbers = {place: published_entry(published, place, method) for place in places_here}
            # No column of dashes where nothing is published.
            if any(entry.value is not None for entry in numbers.values()):
                columns.append(Column(f"{results.labels[method]}, published", group, measured=True))
                for place in places_here:
                    rows[place[:3]].append(numbers[place])
        if differences:
            columns.append(Column("difference [95%] (n)", group, interval=True))
            for place in places_here:
                comparison = comparer.compare(_contrast(place, methods[0], methods[1]))
                difference = difference_entry(comparison)
                paired_seeds.add(difference.n)
                rows[place[:3]].append(difference)
    return Table(
        name=name,
        title=f"{title}: points (fraction × 100), mean ± sd over seeds (n)",
        columns=tuple(columns),
        rows=tuple(tuple(row) for row in rows.values()),
        footnotes=(*_notes(results, paired_seeds), *footnotes(results), *published.notes(places, methods)),
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
    # A single failed seed of one needs no count: "OOM" instead of "1 OOM".
    counted = points or planned > 1
    remarks = [f"{faults.count(fault)} {fault}" if counted else fault for fault in dict.fromkeys(faults)]
    missing = planned - len(records)
    if missing and records:  # where all are missing, the dash says it already
        remarks.append(f"{missing} missing")
    return summary_entry(points, remark=", ".join(remarks))


def difference_entry(comparison: Comparison | None, *, with_n: bool = True) -> Entry:
    """'+1.20 [−0.10, +2.50] (5)' in points, over 5 paired seeds; without brackets if nothing shows the spread."""
    if comparison is None:
        return Entry(DASH)
    interval, seeds = comparison.interval, len(comparison.seeds)
    text, low, high = points_text(comparison.difference), None, None
    if interval is not None:
        text += f" [{points_text(interval.low)}, {points_text(interval.high)}]"
        low, high = 100 * interval.low, 100 * interval.high
    if with_n:
        text += f" ({seeds})"
    return Entry(text, 100 * comparison.difference, low=low, high=high, n=seeds)


def published_entry(published: Published, place: Place, method: str) -> Entry:
    """The published number with its seeds, or a dash."""
    number = published.find(place, method)
    return Entry(DASH) if number is None else Entry(number.text, number.points)


def _mark_best(comparer: Comparer, places: Sequence[Place], methods: Sequence[str], entries: Entries) -> None:
    """In each row and budget make the best entry bold, or mark the ties; Holm's correction is over the whole table."""
    rankings = [ranking for place in places if (ranking := _rank(comparer, place, methods, entries))]
    adjusted = holm([ranking.p for ranking in rankings])
    for ranking, p in zip(rankings, adjusted, strict=True):
        comparisons = [c for c in ranking.comparisons if c is not None and c.interval is not None and len(c.seeds) > 1]
        if len(comparisons) < len(ranking.comparisons):
            continue  # one method cannot be compared, so the row claims nothing
        sign = _direction(ranking.place)
        if any(c.clear and sign * c.difference < 0 for c in comparisons):
            continue  # the best mean comes from easier seeds: on the seeds that both have, another method is better
        best = (ranking.place, ranking.methods[0])
        if p is not None and p < ALPHA and all(c.clear for c in comparisons):
            entries[best] = replace(entries[best], bold=True)
            continue
        # A method that is clearly worse than the best is not tied, even in a row without a bold entry.
        tied = [method for method, c in zip(ranking.methods[1:], comparisons, strict=True) if not c.clear]
        if tied:
            for method in (ranking.methods[0], *tied):
                entries[ranking.place, method] = replace(entries[ranking.place, method], tie=True)


def _rank(comparer: Comparer, place: Place, methods: Sequence[str], entries: Entries) -> Ranking | None:
    """None if fewer than two methods have a score."""
    means = {method: entries[place, method].value for method in methods}
    scores = {method: _direction(place) * value for method, value in means.items() if value is not None}
    ranked = sorted(scores, key=lambda method: -scores[method])
    if len(ranked) < 2:
        return None
    return Ranking(place, ranked, [comparer.compare(_contrast(place, other, ranked[0])) for other in ranked[1:]])


def _contrast(place: Place, first: str, second: str) -> Contrast:
    task, metric, split, budget = place
    return Contrast(task, split, metric, budget, first, second)


def _direction(place: Place) -> float:
    """+1 if a higher metric is better, else -1."""
    return -1.0 if place[1] in LOWER_IS_BETTER else 1.0


def _notes(results: Results, paired_seeds: Collection[int | None]) -> list[str]:
    """How to read the table, given how many seeds there are. `paired_seeds`: those behind each of its differences."""
    most = max((results.seeds_planned(*group) for group in results.groups), default=0)
    if most < 2:
        return [
            "n = 1: one seed has no spread, so nothing is bold; intervals hold for these trained models alone, "
            "not for the methods."
        ]
    notes = [
        f"Bold: the 95% interval of the paired difference (seeds × examples) to every other method excludes zero and "
        f"p < 0.05 after Holm over the table. {TIE}: not told apart from the best. Neither: too little to say."
    ]
    if 1 in paired_seeds:
        notes.append("A difference over one paired seed holds for those two trained models, not for the methods.")
    if sign_flip_floor(most) > ALPHA:
        notes.append(
            f"With {most} paired seeds an exact sign-flip test cannot fall below p = {sign_flip_floor(most):.4g}."
        )
    return notes
