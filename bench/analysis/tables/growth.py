"""The study of growing ranks: when they grew, to what and why, and what the same score costs without growing."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from bench.analysis.footnotes import footnotes
from bench.analysis.results import Results
from bench.analysis.tables.model import DASH, Column, Entry, Table, count, number, words
from bench.analysis.tables.scores import score_entry
from bench.analysis.wording import METRIC_NAMES, budget_text
from bench.records.schema import Record

COLUMNS = (
    Column("task", head=True), Column("method", head=True), Column("budget", head=True),
    Column("score", "task's metric × 100", measured=True), Column("start", "mean rank of a matrix"),
    Column("end", "mean rank of a matrix"), Column("adapter parameters", "at the end"),
    Column("grew after step", "a group a seed"), Column("why"),
)  # fmt: skip


def grows(results: Results) -> bool:
    """Whether a method of the study lets ranks grow."""
    return any(cell.method.grows for cell in results.cells)


def growth_table(results: Results) -> Table:
    """A row for each task, method and budget: score, ranks, the steps at which they grew, and why."""
    rows = []
    for task, method, budget in dict.fromkeys((c.task.name, c.method.name, c.budget_name) for c in results.cells):
        good = results.good(task, method, budget)
        told = results.tasks[task]
        score = score_entry(results, (task, told.metric, told.primary_split, budget), method)
        ranks = [found for r in good if (found := _mean_ranks(results.full(r.cell.id)))]
        sizes = [record.parameters.adapter_end for record in good if record.parameters]
        rows.append((
            words(f"{task} ({METRIC_NAMES[told.metric]})"), words(results.labels[method]),
            words(budget_text(budget, results.study.study.budgets[budget])), score,
            _average([start for start, _ in ranks]), _average([end for _, end in ranks]),
            count(mean(sizes)) if sizes else Entry(DASH), words(_steps(good)), words(_reasons(good)),
        ))  # fmt: skip
    notes = (
        "Ranks grow after the steps named; a dash: they never did. All methods leave out the same held-out rows.",
        *footnotes(results),
    )
    return Table("growth", "Growing ranks: score, mean ± sd over seeds (n), and ranks", COLUMNS, tuple(rows), notes)


def _mean_ranks(record: Record) -> tuple[float, float] | None:
    """At the start and at the end; None where the adapter has no ranks of ours (PEFT's own, full fine-tuning)."""
    sites = record.ranks.values()
    return (mean(site.start for site in sites), mean(site.end for site in sites)) if sites else None


def _average(ranks: Sequence[float]) -> Entry:
    return number(mean(ranks)) if ranks else Entry(DASH)


def _steps(records: Sequence[Record]) -> str:
    """'12, 24 · 18' for two seeds; of many growths the first, the last and how many."""
    return " · ".join(_of_seed([g.step for g in r.training.growths]) for r in records if r.training) or DASH


def _of_seed(steps: Sequence[int]) -> str:
    if not steps:
        return DASH
    few = len(steps) <= 4
    return ", ".join(map(str, steps)) if few else f"{steps[0]} to {steps[-1]} ({len(steps)} times)"


def _reasons(records: Sequence[Record]) -> str:
    """Each once, without the losses that stand before a colon: those differ from growth to growth."""
    reasons = [g.reason.rpartition(": ")[2] for r in records if r.training for g in r.training.growths]
    return "; ".join(dict.fromkeys(reasons)) or DASH
