"""The table of paired comparisons: methods that differ in one thing, with intervals, tests and what n can detect."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from bench.analysis.footnotes import comparison_notes, footnotes
from bench.analysis.results import Results
from bench.analysis.stats.comparison import MIN_SEEDS_TO_CLAIM, Comparer, Comparison
from bench.analysis.stats.paired import sign_flip_floor
from bench.analysis.tables.marks import exact_note
from bench.analysis.tables.model import Column, Entry, Table, count_entry, text_entry
from bench.analysis.tables.parameters import pair_entry
from bench.analysis.tables.scores import budgets_note, difference_entry
from bench.analysis.verdicts import ALPHA, Verdict, verdicts
from bench.analysis.wording import DASH, column_unit, direction_notes, p_value_text, split_text, two_digits, unit_text
from bench.config.metric_facts import MetricFacts

UNIT = "points"  # of differences, where all metrics have it
COLUMNS = (
    Column("task", head=True),
    Column("metric", head=True),
    Column("budget", head=True),
    Column("second − first", head=True),
    Column("adapter parameters"),
    Column("difference [95%]", interval=True, unit=UNIT),
    Column("p"),
    Column("p, Holm"),
    Column("p, sign flips"),
    Column("p, McNemar by seed"),
    Column("detectable [95%]", parts=("estimate", "low", "high"), unit=UNIT),
    Column("seeds"),
    Column("examples"),
)
INTERVAL_NOTE = (
    "Interval and p: seeds and examples as crossed random factors, Student's t for either part, combined by Banerjee's "
    "rule. The part of the examples: for a share of right examples from the examples and two more (Bonett and Price "
    "2012), else from 2,000 bootstrap resamples shared by methods and seeds."
)
DETECTABLE_NOTE = (
    "Detectable: the true difference found with 80% power at this spread and n, [95%] as the seeds' "
    "variance is itself uncertain. Bold: interval without zero, p < 0.05 after Holm over this table, and both methods "
    f"scored on every seed, {MIN_SEEDS_TO_CLAIM} or more."
)
ONE_SEED_NOTE = "One seed: the interval holds for the two trained models, not for the methods; never bold."
NOTE = f"{INTERVAL_NOTE} McNemar: exact, each seed for itself. {DETECTABLE_NOTE}"


def comparison_table(comparer: Comparer) -> Table:
    """One row per task, pair and budget, in the task's reported metric; Holm's correction is over the whole table."""
    results = comparer.results
    found = verdicts(comparer)
    known = [verdict.comparison for verdict in found if verdict.comparison]
    return Table(
        name="comparisons",
        title=f"Paired comparisons: differences in {unit_text(metrics_of(results))}",
        columns=columns_of(results),
        rows=tuple(comparison_row(results, verdict) for verdict in found),
        footnotes=(NOTE, *paired_notes(comparer, known, results.labels, _sign_flip_notes(known))),
    )


def metrics_of(results: Results) -> list[MetricFacts]:
    """The reported metric of every task."""
    return [task.metric_facts(task.metric) for task in results.tasks.values()]


def columns_of(results: Results) -> tuple[Column, ...]:
    """`COLUMNS`, which name a unit only where the study's metrics share it."""
    unit = column_unit(metrics_of(results))
    return tuple(replace(column, unit=unit) if column.unit else column for column in COLUMNS)


def paired_notes(
    comparer: Comparer, known: Sequence[Comparison], methods: Collection[str], tests: Sequence[str] = ()
) -> tuple[str, ...]:
    """What a table of these comparisons of these methods must say. `tests`: notes on tests that it shows besides."""
    results = comparer.results
    return (
        *([ONE_SEED_NOTE] if any(len(comparison.seeds) == 1 for comparison in known) else []),
        *tests,
        *direction_notes(metrics_of(results)),
        budgets_note(results),
        *exact_note(comparer, methods),
        *comparison_notes(results, known),
        *footnotes(results),
    )


def comparison_row(results: Results, verdict: Verdict) -> tuple[Entry, ...]:
    """One entry for each of `COLUMNS`."""
    contrast, comparison, adjusted_p = verdict.contrast, verdict.comparison, verdict.adjusted_p
    heads = (
        text_entry(split_text(results.tasks[contrast.task], contrast.split)),
        text_entry(results.tasks[contrast.task].metric_facts(contrast.metric).label),
        text_entry(contrast.budget),
        text_entry(f"{results.labels[contrast.second]} − {results.labels[contrast.first]}"),
    )
    if comparison is None:
        dash = text_entry(DASH)
        return (*heads, dash, dash, dash, dash, dash, dash, dash, count_entry(0), dash)
    p = comparison.interval.p if comparison.interval else None
    return (
        *heads,
        pair_entry(results, contrast.task, contrast.budget, (contrast.first, contrast.second), comparison.seeds),
        replace(difference_entry(comparison, usual=len(comparison.seeds)), bold=verdict.significant),
        Entry(p_value_text(p), p),
        Entry(p_value_text(adjusted_p), adjusted_p),
        Entry(p_value_text(comparison.sign_flip_p), comparison.sign_flip_p),
        text_entry(", ".join(p_value_text(value) for value in comparison.mcnemar_p) or DASH),
        _detectable_entry(comparison),
        count_entry(len(comparison.seeds)),
        count_entry(comparison.examples),
    )


def _detectable_entry(comparison: Comparison) -> Entry:
    """'6.5 [3.4, 41]' in the unit of tables, with two digits, as few seeds say no more; '7.9' from examples."""
    if comparison.detectable is None:
        return text_entry(DASH)
    estimate = comparison.facts.shown(comparison.detectable)
    if comparison.detectable_bounds is None:
        return Entry(two_digits(estimate), estimate)
    low, high = map(comparison.facts.shown, comparison.detectable_bounds)
    return Entry(f"{two_digits(estimate)} [{two_digits(low)}, {two_digits(high)}]", estimate, low=low, high=high)


def _sign_flip_notes(comparisons: Sequence[Comparison]) -> list[str]:
    seed_counts = sorted({len(comparison.seeds) for comparison in comparisons})
    powerless = [seeds for seeds in seed_counts if sign_flip_floor(seeds) > ALPHA]
    if not powerless:
        return []
    floors = ", ".join(f"{seeds}: p ≥ {sign_flip_floor(seeds):.4g}" for seeds in powerless)
    return [f"Sign flips cannot reach significance with so few paired seeds ({floors})."]
