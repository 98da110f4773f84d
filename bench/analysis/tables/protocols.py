"""The table of protocols: what others would report of these trainings beside what the study reports.

Only the protocol of the other tables has an interval, since only its scores come with predictions and no maximum over
the reported split has an honest one.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.analysis.footnotes import comparison_notes, footnotes
from bench.analysis.lens import Lens
from bench.analysis.protocols import Protocol
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.model import Column, Entry, Table, summary_entry, text_entry
from bench.analysis.tables.protocol_notes import protocol_notes
from bench.analysis.tables.resources import runs_entry
from bench.analysis.tables.scores import difference_entry
from bench.analysis.tuning_results import Group
from bench.analysis.wording import DASH, budget_text, difference_text, direction_notes, metric_text, unit_text

HEADS = (
    Column("task", head=True),
    Column("metric", head=True),
    Column("budget", head=True),
    Column("method", head=True),
    Column("seeds", parts=("", "remark")),
)


def protocol_table(comparer: Comparer) -> Table | None:
    """One row per task, budget and method, in the task's reported metric; None where no two protocols differ.

    Raises BenchError for a curve that does not belong to its record, and for predictions that do not match theirs.
    """
    lens = Lens(comparer)
    if not lens.differ:
        return None
    metrics = [lens.metric(group) for group in lens.groups]
    columns = [*HEADS, *_score_columns(lens), *_difference_columns(lens)]
    return Table(
        name="protocols",
        title=f"Protocols: the same trainings reported in several ways, in {unit_text(metrics)}",
        columns=tuple(columns),
        rows=tuple(_row(lens, group) for group in lens.groups),
        footnotes=(
            *protocol_notes(lens),
            *direction_notes(metrics, differences=lens.compares),
            *comparison_notes(lens.results, [c for c in lens.comparisons.values() if c], bold=False),
            *footnotes(lens.results),
        ),
    )


def _score_columns(lens: Lens) -> Iterator[Column]:
    for protocol in lens.protocols:
        group = "optimistic score" if protocol.optimistic else "score"
        if protocol.picks_seed:
            yield Column(protocol.value, group, parts=("", "n", "remark"))
        else:
            yield Column(protocol.value, group, measured=True)


def _difference_columns(lens: Lens) -> Iterator[Column]:
    if not lens.compares:
        return
    label = lens.results.labels[lens.baseline]
    for protocol in lens.protocols:
        group = f"{'optimistic ' if protocol.optimistic else ''}difference to {label}"
        if protocol is lens.reported:
            yield Column(f"{protocol.value} [95%]", group, interval=True)
        else:
            yield Column(protocol.value, group, parts=("", "n"))


def _row(lens: Lens, group: Group) -> tuple[Entry, ...]:
    task, method, budget = group
    heads = (
        text_entry(lens.results.task_labels[task]),
        text_entry(lens.metric(group).label),
        text_entry(budget_text(budget, lens.results.study.study.budgets[budget])),
        text_entry(lens.results.labels[method]),
        runs_entry(lens.results, task, method, budget),
    )
    scores = (_score_entry(lens, protocol, group) for protocol in lens.protocols)
    differences = (_difference_entry(lens, protocol, group) for protocol in lens.protocols if lens.compares)
    return (*heads, *scores, *differences)


def _score_entry(lens: Lens, protocol: Protocol, group: Group) -> Entry:
    """The number with its n, and in words how many of the trainings have none; a dash where none could have one."""
    runs, facts = lens.runs[group], lens.metric(group)
    taken = [run for run in runs if protocol.of_run in run.scores]
    if not taken:
        return Entry(DASH, n=0)
    undefined = sum(run.score(protocol) is None for run in taken)
    counts = {"undefined": undefined, "not taken": len(runs) - len(taken)}
    remark = ", ".join(f"{count} of {len(runs)} {what}" for what, count in counts.items() if count)
    found = lens.report(protocol, group)
    if found is None:
        return Entry("", n=0, remark=remark)
    if not protocol.picks_seed:
        shown = [facts.shown(score) for run in taken if (score := run.score(protocol)) is not None]
        return summary_entry(shown, facts.digits, remark=remark)
    return Entry(f"{metric_text(facts, found.value)} ({found.n})", facts.shown(found.value), n=found.n, remark=remark)


def _difference_entry(lens: Lens, protocol: Protocol, group: Group) -> Entry:
    if protocol is lens.reported:
        return difference_entry(lens.comparisons.get(group))
    found = lens.difference(protocol, group)
    if found is None:
        return Entry(DASH)
    facts = lens.metric(group)
    return Entry(f"{difference_text(facts, found.value)} ({found.n})", facts.shown(found.value), n=found.n)
