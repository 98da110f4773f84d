"""The table of what a learned rank pattern is worth: paired differences to the same training with other ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.analysis.pattern_methods import learned_methods, methods_of, worth_pairs
from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.comparisons import (
    COLUMNS,
    DETECTABLE_NOTE,
    INTERVAL_NOTE,
    columns_of,
    comparison_row,
    metrics_of,
    paired_notes,
)
from bench.analysis.tables.model import Entry, Table
from bench.analysis.verdicts import verdicts
from bench.analysis.wording import unit_text

NAMES = {"second − first": "learned − baseline"}  # columns that have another name here
WITHOUT = {"p, sign flips", "p, McNemar by seed"}  # they stand in the table of comparisons
KEPT = [number for number, column in enumerate(COLUMNS) if column.name not in WITHOUT]


def pattern_worth_pairs(results: Results) -> list[tuple[str, str]]:
    """The pairs of the table, (baseline, learned method): see `worth_pairs`. Without any there is no table."""
    return worth_pairs(methods_of(results), learned_methods(results))


def pattern_worth_table(comparer: Comparer, pairs: Sequence[tuple[str, str]]) -> Table:
    """One row per task, pair and budget, in the task's reported metric; Holm's correction is over the whole table."""
    results = comparer.results
    found, columns = verdicts(comparer, pairs), columns_of(results)
    known = [verdict.comparison for verdict in found if verdict.comparison]
    shown = list(dict.fromkeys(method for pair in pairs for method in pair))
    return Table(
        name="pattern_worth",
        title=f"What the learned ranks are worth: paired differences in {unit_text(metrics_of(results))}",
        columns=tuple(replace(columns[k], name=NAMES.get(columns[k].name, columns[k].name)) for k in KEPT),
        rows=tuple(_kept(comparison_row(results, verdict)) for verdict in found),
        footnotes=(
            *_described(results, list(dict.fromkeys(baseline for baseline, _ in pairs))),
            f"{INTERVAL_NOTE} {DETECTABLE_NOTE}",
            *paired_notes(comparer, known, shown),
        ),
    )


def _kept(row: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return tuple(row[number] for number in KEPT)


def _described(results: Results, baselines: Sequence[str]) -> Iterator[str]:
    """What the baselines are, in the words of their files."""
    methods = {method.name: method for method in methods_of(results)}
    texts = [f"{methods[name].label}: {methods[name].description}" for name in baselines if methods[name].description]
    if texts:
        yield f"Baselines: {'; '.join(texts)}."
