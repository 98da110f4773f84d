"""The table of several cells that were trained again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from bench.analysis.tables.model import Column, Entry, Table, text_entry
from bench.analysis.wording import DASH, difference_text, direction_notes, metric_text, unit_text
from bench.config.metric_facts import MetricFacts
from bench.paths import CURVE, PREDICTIONS
from bench.reproduction.comparison import Comparison
from bench.reproduction.finding import DIGITS, Finding, environment_lines

COLUMNS = (
    Column("cell", head=True),
    Column("outcome"),
    Column("recorded"),
    Column("difference"),
    Column("spread"),
    Column("first step that differs"),
    Column("largest difference of a loss"),
    Column("other predictions"),
)


def reproduction_table(findings: Sequence[Finding]) -> Table:
    """A row per cell; scores and differences in the unit of tables. Footnotes say what differs in the environment."""
    rows = tuple(_row(finding) for finding in findings)
    metrics = [finding.facts for finding in findings if finding.comparison]
    unit = "points" if all(facts.in_points for facts in metrics) else unit_text(metrics)
    title = f"Trained again: the score in {unit}, and what differs from the record"
    notes = (*_notes(findings), *direction_notes(metrics, differences=False))
    return Table("reproductions", title, COLUMNS, rows, notes)


def _row(finding: Finding) -> tuple[Entry, ...]:
    found = finding.comparison
    if found is None:
        dashes = (text_entry(DASH),) * (len(COLUMNS) - 2)
        return (text_entry(finding.name), text_entry(finding.outcome.value), *dashes)
    facts = finding.facts
    texts = (_recorded(facts, found), _difference(facts, found), _spread(facts, found), *_curve(found))
    return (
        text_entry(finding.name),
        text_entry(finding.outcome.value),
        *map(text_entry, (*texts, _predictions(found))),
    )


def _recorded(facts: MetricFacts, found: Comparison) -> str:
    return DASH if found.recorded is None else metric_text(facts, found.recorded)


def _difference(facts: MetricFacts, found: Comparison) -> str:
    if found.difference is None:
        return DASH
    return "0" if found.difference == 0 else difference_text(facts, found.difference, DIGITS)


def _spread(facts: MetricFacts, found: Comparison) -> str:
    if found.spread is None:
        return DASH
    return f"{metric_text(facts, found.spread.low)} to {metric_text(facts, found.spread.high)}"


def _curve(found: Comparison) -> tuple[str, str]:
    if found.curve is None:
        return ("by its hash" if CURVE in found.files else DASH), DASH
    largest = DASH if found.curve.largest is None else f"{found.curve.largest:.2g}"
    return str(found.curve.first_step), largest


def _predictions(found: Comparison) -> str:
    if found.predictions is None:
        return "by its hash" if PREDICTIONS in found.files else "0"
    return f"{found.predictions.differing:,} of {found.predictions.examples:,}"


def _notes(findings: Sequence[Finding]) -> Iterator[str]:
    """Which spreads they are, what differs in the environments, why cells could not be trained, and notes on cells."""
    compared = [finding for finding in findings if finding.comparison]
    spreads = Counter(f.comparison.spread.how for f in compared if f.comparison and f.comparison.spread)
    yield from (f"Spread, {how} ({count} of {len(compared)} cells)." for how, count in sorted(spreads.items()))
    lines = Counter(line for finding in compared for line in environment_lines(finding.environment))
    for line, count in sorted(lines.items()):
        yield line if count == len(compared) else f"{line} ({count} of {len(compared)} cells)"
    yield from (f"cannot, {finding.name}: {finding.cannot}" for finding in findings if finding.cannot)
    yield from (f"{finding.name}: {note}" for finding in compared for note in finding.notes)
