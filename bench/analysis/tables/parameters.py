"""The exact number of adapter parameters, beside every score: A, B and E at the end of a training, heads apart."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.results import Results
from bench.analysis.tables.model import Column, Entry, spread_entry, text_entry
from bench.analysis.wording import DASH, count_text
from bench.records.schema import Record

ROW = "parameters"  # in the column of the metric
NOTE = "Adapter parameters: an exact count, no points, of A, B and E; heads are counted apart, in the table parameters."
SPREAD = ("", "sd", "n")  # the CSV columns of a mean over seeds
RANGE_COLUMN = Column("adapter parameters", parts=("low", "high"))


def parameters_entry(results: Results, task: str, method: str, budget: str, usual: int | None = None) -> Entry:
    """'82,944 (3)', or '93,384 ± 1,152 (3)' where the seeds ended with different ranks.

    The n is left out where it is the `usual` one.
    """
    if not results.seeds_planned(task, method, budget):
        return text_entry("")
    sizes = _sizes(results.successful(task, method, budget))
    return spread_entry(sizes, count_text, n=usual, always_n=usual is None)


def pair_entry(results: Results, task: str, budget: str, methods: tuple[str, str], seeds: Sequence[int]) -> Entry:
    """'93,384 ± 1,152 vs 82,944': of the second and the first method, over the seeds that both have."""
    texts = []
    for method in reversed(methods):
        records = [r for r in results.successful(task, method, budget) if r.cell.seed in seeds]
        texts.append(spread_entry(_sizes(records), count_text).text)
    return text_entry(" vs ".join(texts))


def range_entry(results: Results, tasks: Sequence[str], method: str, budget: str) -> Entry:
    """'18,432 to 93,384', the fewest and most over tasks and runs; one number if all agree."""
    sizes = [size for task in tasks for size in _sizes(results.successful(task, method, budget))]
    if not sizes:
        return text_entry(DASH)
    low, high = min(sizes), max(sizes)
    text = count_text(low) if low == high else f"{count_text(low)} to {count_text(high)}"
    return Entry(text, low=low, high=high)


def _sizes(records: Sequence[Record]) -> list[int]:
    return [record.parameters.adapter_end for record in records if record.parameters]
