"""Tables of scores: methods side by side at each budget, a row for each task, metric and split.

A mean is bold only where its paired difference to every other is an advantage whose interval has no zero, over more
than one seed, and Holm's p over the table's rows stays below 5%; a row's p is the largest of its comparisons. Methods
that can't be told apart from the best are marked with it as a tie.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from bench.analysis.footnotes import footnotes
from bench.analysis.published import Published
from bench.analysis.results import Results, value_of
from bench.analysis.stats.comparison import Comparer, Comparison, Question
from bench.analysis.stats.paired import holm, sign_flip_floor
from bench.analysis.tables.model import DASH, TIE, Column, Entry, Table, summary, words
from bench.analysis.wording import LOWER_IS_BETTER, METRIC_NAMES, WORDS, budget_text

KEYS = (Column("task", head=True), Column("metric", head=True), Column("split", head=True))
ALPHA = 0.05
Place = tuple[str, str, str, str]  # task, metric, split, budget


def score_table(
    comparer: Comparer,
    name: str,
    title: str,
    methods: Sequence[str],
    published: Published,
    *,
    differences: bool = False,
) -> Table:
    """`differences`: each budget ends with the difference of the second method to the first, and its interval."""
    results = comparer.results.only(methods)
    places: list[Place] = [
        (task.name, metric, split, budget)
        for task in results.tasks.values()
        for split in task.data.evaluation
        for metric in task.metrics
        for budget in results.budgets
    ]
    entries = {(place, m): score_entry(results, place, m) for place in places for m in methods}
    _mark(comparer, places, methods, entries)
    paired: set[int | None] = set()  # seeds behind the differences

    columns, rows = list(KEYS), {place[:3]: [words(place[0]), words(METRIC_NAMES[place[1]]), words(place[2])]
                                 for place in places}  # fmt: skip
    for budget in results.budgets:
        group = budget_text(budget, results.study.study.budgets[budget])
        here = [place for place in places if place[3] == budget]
        for method in [method for method in methods if method in results.planned(budget)]:
            columns.append(Column(results.labels[method], group, measured=True))
            for place in here:
                rows[place[:3]].append(entries[place, method])
            printed = {place: published.entry(*place, method) for place in here}
            if any(entry.text != DASH for entry in printed.values()):
                columns.append(Column(f"{results.labels[method]}, published", group, measured=True))
                for place in here:
                    rows[place[:3]].append(printed[place])
        if differences:
            columns.append(Column("difference [95%] (n)", group, interval=True))
            for place in here:
                found = _difference(comparer, place, methods)
                paired.add(found.n)
                rows[place[:3]].append(found)
    return Table(
        name=name,
        title=f"{title}: points (fraction × 100), mean ± sd over seeds (n)",
        columns=tuple(columns),
        rows=tuple(tuple(row) for row in rows.values()),
        footnotes=(*_reading(results, paired), *footnotes(results), *published.notes(places, methods)),
    )


def interval_entry(comparison: Comparison | None, *, counted: bool = True) -> Entry:
    """'+1.20 [−0.10, +2.50] (5)' in points, over paired seeds; the difference alone where nothing tells the spread."""
    if comparison is None:
        return Entry(DASH)
    found, seeds = comparison.interval, len(comparison.seeds)
    text = signed(comparison.difference)
    text += "" if found is None else f" [{signed(found.low)}, {signed(found.high)}]"
    low, high = (None, None) if found is None else (100 * found.low, 100 * found.high)
    text += f" ({seeds})" if counted else ""
    return Entry(text, 100 * comparison.difference, low=low, high=high, n=seeds)


def signed(fraction: float) -> str:
    return f"{100 * fraction:+.2f}".replace("-", "−")


def score_entry(results: Results, place: Place, method: str) -> Entry:
    """Mean ± sd (n) of the scores there are, and in words what failed or is missing."""
    task, metric, split, budget = place
    wanted, records = results.wanted(task, method, budget), results.of(task, method, budget)
    if not wanted:
        return words("")
    found = {record.cell.id: value_of(record, split, metric) for record in records}
    numbers = [100 * value for value in found.values() if value is not None]
    faults = [WORDS[r.status] if r.status != "ok" else "undefined" for r in records if found[r.cell.id] is None]
    counted = [f"{faults.count(fault)} {fault}" if numbers or wanted > 1 else fault for fault in dict.fromkeys(faults)]
    missing = wanted - len(records)
    if missing and records:
        counted.append(f"{missing} missing")
    return summary(numbers, remark=", ".join(counted))


def _mark(
    comparer: Comparer, places: Sequence[Place], methods: Sequence[str], entries: dict[tuple[Place, str], Entry]
) -> None:
    """Make the best bold or mark ties, row by row; Holm over all of the table."""
    contests: list[tuple[float, Place, list[str], list[Comparison | None]]] = []
    for place in places:
        task, metric, split, budget = place
        sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
        ranked = [m for m in methods if entries[place, m].value is not None]
        ranked.sort(key=lambda m: -sign * (entries[place, m].value or 0.0))
        if len(ranked) > 1:
            best = ranked[0]
            rest = [comparer.ask(Question(task, split, metric, budget, other, best)) for other in ranked[1:]]
            contests.append((sign, place, ranked, rest))
    adjusted = holm([_largest_p(rest) for _, _, _, rest in contests])
    for (sign, place, ranked, rest), p in zip(contests, adjusted, strict=True):
        judged = [c for c in rest if c is not None and c.interval is not None and len(c.seeds) > 1]
        if len(judged) < len(rest):
            continue  # something could not be compared, so nothing is said
        if any(c.clear and sign * c.difference < 0 for c in judged):
            continue  # the best mean is of other seeds: where both have a score, it is not the better one
        if p is not None and p < ALPHA and all(c.clear for c in judged):
            entries[place, ranked[0]] = replace(entries[place, ranked[0]], bold=True)
            continue
        tied = [m for m, c in zip(ranked[1:], judged, strict=True) if not c.clear]
        for method in [ranked[0], *tied] if tied else []:
            entries[place, method] = replace(entries[place, method], tie=True)


def _largest_p(comparisons: Sequence[Comparison | None]) -> float | None:
    """Of a claim about all of them; None where one could not be judged."""
    found = [c.interval.p if c and c.interval else None for c in comparisons]
    return None if None in found else max(p for p in found if p is not None)


def _difference(comparer: Comparer, place: Place, methods: Sequence[str]) -> Entry:
    task, metric, split, budget = place
    return interval_entry(comparer.ask(Question(task, split, metric, budget, methods[0], methods[1])))


def _reading(results: Results, paired: Collection[int | None]) -> list[str]:
    """How the table is to be read, by what its n allows. `paired`: seeds behind each difference in it."""
    most = max((results.wanted(c.task.name, c.method.name, c.budget_name) for c in results.cells), default=0)
    if most < 2:
        return [
            "n = 1: one seed has no spread, so nothing is bold; intervals hold for these trained models alone, "
            "not for the methods."
        ]
    notes = [
        f"Bold: the 95% interval of the paired difference (seeds × examples) to every other method excludes zero and "
        f"p < 0.05 after Holm over the table. {TIE}: not told apart from the best. Neither: too little to say."
    ]
    if 1 in paired:
        notes.append("A difference over one paired seed holds for those two trained models, not for the methods.")
    if sign_flip_floor(most) > ALPHA:
        notes.append(
            f"With {most} paired seeds an exact sign-flip test cannot fall below p = {sign_flip_floor(most):.4g}."
        )
    return notes
