"""The tables of published numbers beside ours: those read in their papers, and those read in notes on papers."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.footnotes import footnotes
from bench.analysis.published import Place, Published, method_label
from bench.analysis.results import Results
from bench.analysis.tables.marks import facts_at
from bench.analysis.tables.model import Column, Entry, Table, text_entry
from bench.analysis.tables.scores import HEADS, budgets_note, heads_of, places_of, score_entry
from bench.analysis.wording import DASH, column_unit, direction_notes, unit_text
from bench.config.metric_facts import MetricFacts


def published_table(results: Results, published: Published) -> Table | None:
    """The published numbers for the study's cells beside its own; None where there are none."""
    places = _places(results)
    rows, metrics = [], []
    for place in places:
        for method, label in results.labels.items():
            number = published_entry(published, place, method)
            if number.value is not None and results.seeds_planned(place[0], method, place[3]):
                rows.append((*heads_of(results, place), text_entry(label), score_entry(results, place, method), number))
                metrics.append(facts_at(results, place))
    if not rows:
        return None
    title = f"Published numbers beside ours: {unit_text(metrics)}, mean ± sd over seeds (n)"
    notes = (
        *direction_notes(metrics, differences=False),
        *published.notes(places, results),
        budgets_note(results),
        *footnotes(results),
    )
    columns = (*HEADS, Column("method", head=True), _here(metrics), _published(metrics))
    return Table("published", title, columns, tuple(rows), notes)


def secondary_table(results: Results, published: Published) -> Table | None:
    """The numbers that were read in notes on papers, for all methods that have one in a place of the study.

    A method that the study does not have shows a dash for ours. None where there are no such numbers.
    """
    found = [(place, number) for place in _places(results) for number in published.at(place) if number.secondary]
    if not found:
        return None
    metrics = [facts_at(results, place) for place, _ in found]
    rows = []
    for place, number in found:
        ours = number.method in results.labels and results.seeds_planned(place[0], number.method, place[3])
        here = score_entry(results, place, number.method) if ours else Entry(DASH)
        names = (method_label(results, number.method), number.source)
        printed = (text_entry(number.parameters or DASH), Entry(number.text, number.points))
        rows.append((*heads_of(results, place), *map(text_entry, names), here, *printed))
    columns = (
        *HEADS,
        Column("method", head=True),
        Column("source", head=True),
        _here(metrics),
        Column("parameters"),
        _published(metrics),
    )
    title = (
        "Secondary: published numbers read in notes on the papers, not in the papers, beside ours: "
        f"{unit_text(metrics)}, mean ± sd over seeds (n)"
    )
    notes = direction_notes(metrics, differences=False)
    notes += published.secondary_notes([number for _, number in found], results)
    return Table(
        "published_secondary", title, columns, tuple(rows), (*notes, budgets_note(results), *footnotes(results))
    )


def published_entry(published: Published, place: Place, method: str) -> Entry:
    """The published number with its seeds, or a dash."""
    number = published.find(place, method)
    return Entry(DASH) if number is None else Entry(number.text, number.points)


def _here(metrics: Sequence[MetricFacts]) -> Column:
    return Column("here", measured=True, unit=column_unit(metrics))


def _published(metrics: Sequence[MetricFacts]) -> Column:
    return Column("published", unit=column_unit(metrics))


def _places(results: Results) -> list[Place]:
    return [*places_of(results, "reported"), *places_of(results, "other")]
