"""The table of paired comparisons: methods that differ in one thing, with intervals, tests and what n can detect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.analysis.footnotes import footnotes
from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer, Comparison, Question
from bench.analysis.stats.paired import holm, sign_flip_floor
from bench.analysis.tables.model import DASH, Column, Entry, Table, count, number, words
from bench.analysis.tables.scores import ALPHA, interval_entry
from bench.analysis.wording import METRIC_NAMES, budget_text, probability
from bench.config.method import Method

COLUMNS = (
    Column("task", head=True), Column("metric", head=True), Column("split", head=True), Column("budget", head=True),
    Column("second − first", head=True), Column("difference [95%]", interval=True), Column("p"), Column("p, Holm"),
    Column("p, sign flips"), Column("p, McNemar by seed"), Column("detectable"), Column("seeds"), Column("examples"),
)  # fmt: skip


def method_pairs(results: Results) -> list[tuple[str, str]]:
    """Pairs of methods, in the study's order, that share their storage or share all but their storage."""
    methods = {cell.method.name: cell.method for cell in results.cells}
    names = list(methods)
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if _near(methods[a], methods[b])]


def comparisons(comparer: Comparer, pair: tuple[str, str]) -> list[tuple[Question, Comparison | None]]:
    """One pair in the reported metric of every task, at every budget where the study asks for both."""
    results = comparer.results
    asked = [
        Question(task.name, task.primary_split, task.metric, budget, *pair)
        for task in results.tasks.values()
        for budget in results.budgets
        if all(results.wanted(task.name, method, budget) for method in pair)
    ]
    return [(question, comparer.ask(question)) for question in asked]


def pair_table(comparer: Comparer) -> Table:
    """A row for each task, budget and pair, in the task's first metric; Holm over the whole table."""
    results = comparer.results
    found = [item for pair in method_pairs(results) for item in comparisons(comparer, pair)]
    order = {name: i for i, name in enumerate(results.tasks)}
    found.sort(key=lambda item: order[item[0].task])
    adjusted = holm([c.interval.p if c and c.interval else None for _, c in found])
    rows = tuple(_row(results, q, c, p) for (q, c), p in zip(found, adjusted, strict=True))
    return Table(
        "comparisons",
        "Paired comparisons: differences in points (fraction × 100)",
        COLUMNS,
        rows,
        (*_notes([c for _, c in found if c]), *footnotes(results)),
    )


def _near(first: Method, second: Method) -> bool:
    told = {"name", "label", "description", "storage", "double_quantization"}
    return first.storage == second.storage or first.model_dump(exclude=told) == second.model_dump(exclude=told)


def _row(results: Results, question: Question, found: Comparison | None, adjusted: float | None) -> tuple[Entry, ...]:
    q = question
    heads = (
        words(q.task), words(METRIC_NAMES[q.metric]), words(q.split),
        words(budget_text(q.budget, results.study.study.budgets[q.budget])),
        words(f"{results.labels[q.second]} − {results.labels[q.first]}"),
    )  # fmt: skip
    if found is None:
        return (*heads, *[words(DASH)] * 6, count(0), words(DASH))
    p = found.interval.p if found.interval else None
    clear = found.clear and adjusted is not None and adjusted < ALPHA
    return (
        *heads,
        replace(interval_entry(found, counted=False), bold=clear),
        Entry(probability(p), p),
        Entry(probability(adjusted), adjusted),
        Entry(probability(found.flip), found.flip),
        words(", ".join(probability(value) for value in found.mcnemar) or DASH),
        number(None if found.detectable is None else 100 * found.detectable),
        count(len(found.seeds)),
        count(found.examples),
    )


def _notes(found: Sequence[Comparison]) -> list[str]:
    notes = [
        "Interval and p: seeds and examples as crossed random factors; the part of the examples by 2,000 bootstrap "
        "resamples shared by methods and seeds, Student's t for the part of the seeds, combined by Banerjee's rule. "
        "Without examples (a dash): seeds alone. McNemar: exact, each seed for itself. Detectable: the true difference "
        "found with 80% power at this spread and n. Bold: interval without zero and p < 0.05 after Holm over this "
        "table.",
    ]
    counts = sorted({len(comparison.seeds) for comparison in found})
    if counts and counts[0] == 1:
        notes.append("One seed: the interval holds for the two trained models, not for the methods; never bold.")
    powerless = [n for n in counts if sign_flip_floor(n) > ALPHA]
    if powerless:
        floors = ", ".join(f"{n}: p ≥ {sign_flip_floor(n):.4g}" for n in powerless)
        notes.append(f"Sign flips cannot reach significance with so few paired seeds ({floors}).")
    return notes
