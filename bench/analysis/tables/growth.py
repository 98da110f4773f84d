"""The table of a study of growing ranks: the score, when the ranks grew, to what size and for what reason."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from bench.analysis.footnotes import footnotes
from bench.analysis.results import Results
from bench.analysis.tables.model import Column, Table, spread_entry, text_entry
from bench.analysis.tables.parameters import SPREAD, parameters_entry
from bench.analysis.tables.scores import score_entry
from bench.analysis.wording import DASH, budget_text, column_unit, direction_notes, number_text
from bench.records.schema import Record

HEADS = (Column("task", head=True), Column("method", head=True), Column("budget", head=True))
COLUMNS = (
    Column("start", "mean rank of a matrix", parts=SPREAD),
    Column("end", "mean rank of a matrix", parts=SPREAD),
    Column("adapter parameters", "at the end", parts=SPREAD),
    Column("grew after step", "a group a seed"),
    Column("why"),
)
NOTE = "Ranks grow after the steps named; a dash: they never did. All methods leave out the same held-out rows."
MAX_STEPS_LISTED = 4  # IncreLoRA grows at every check; then the first step, the last and their number are enough


def has_growing_ranks(results: Results) -> bool:
    """Whether a method of the study lets ranks grow."""
    return any(cell.method.grows for cell in results.cells)


def growth_table(results: Results) -> Table:
    """One row per task, method and budget."""
    rows = []
    for task, method, budget in results.groups:
        records = results.successful(task, method, budget)
        spec = results.tasks[task]
        ranks = [pair for record in records if (pair := _mean_ranks(results.full_record(record.cell.id)))]
        rows.append(
            (
                text_entry(f"{spec.label} ({spec.metric_facts(spec.metric).label})"),
                text_entry(results.labels[method]),
                text_entry(budget_text(budget, results.study.study.budgets[budget])),
                score_entry(results, (task, spec.metric, spec.primary_split, budget), method),
                spread_entry([start for start, _ in ranks], number_text, n=len(records)),
                spread_entry([end for _, end in ranks], number_text, n=len(records)),
                parameters_entry(results, task, method, budget),
                text_entry(_steps(records)),
                text_entry(_reasons(records)),
            )
        )
    title = "Growing ranks: score, mean ± sd over seeds (n), and ranks"
    metrics = [task.metric_facts(task.metric) for task in results.tasks.values()]
    unit = column_unit(metrics)
    score = Column("score", "task's metric × 100" if unit else "task's metric", measured=True, unit=unit)
    notes = (NOTE, *direction_notes(metrics, differences=False), *footnotes(results))
    return Table("growth", title, (*HEADS, score, *COLUMNS), tuple(rows), notes)


def _mean_ranks(record: Record) -> tuple[float, float] | None:
    """At the start and at the end; None for adapters whose ranks are not ours (PEFT's own, full fine-tuning)."""
    sites = record.ranks.values()
    return (mean(site.start for site in sites), mean(site.end for site in sites)) if sites else None


def _steps(records: Sequence[Record]) -> str:
    """'12, 24 · 18' for two seeds."""
    by_seed = [[growth.step for growth in record.training.growths] for record in records if record.training]
    return " · ".join(map(_steps_of_seed, by_seed)) or DASH


def _steps_of_seed(steps: Sequence[int]) -> str:
    if not steps:
        return DASH
    if len(steps) > MAX_STEPS_LISTED:
        return f"{steps[0]} to {steps[-1]} ({len(steps)} times)"
    return ", ".join(map(str, steps))


def _reasons(records: Sequence[Record]) -> str:
    """Each reason once, without the losses before its colon, which differ from growth to growth."""
    growths = [growth for record in records if record.training for growth in record.training.growths]
    return "; ".join(dict.fromkeys(growth.reason.rpartition(": ")[2] for growth in growths)) or DASH
