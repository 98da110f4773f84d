"""The study's tables, in the order in which they are read."""

from __future__ import annotations

from bench.analysis.published import read_published
from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.comparisons import method_pairs, pair_table
from bench.analysis.tables.growth import grows, growth_table
from bench.analysis.tables.model import Table
from bench.analysis.tables.overall import overall_table
from bench.analysis.tables.resources import cost_table, memory_table
from bench.analysis.tables.scores import score_table


def tables(results: Results, comparer: Comparer) -> list[Table]:
    """Every table that the study's methods fill. Raises BenchError for predictions that are not their record's."""
    methods = list(results.labels)
    published = read_published(results)
    made = []
    pair = [name for name in ("lora", "adalora") if name in methods]
    if len(pair) == 2:
        made.append(score_table(comparer, "lora_adalora", "LoRA against AdaLoRA", pair, published, differences=True))
    made.append(score_table(comparer, "methods", "All methods", methods, published))
    if method_pairs(results):
        made.append(pair_table(comparer))
    made += [growth_table(results)] if grows(results) else []
    overall = overall_table(results)
    return [*made, *([overall] if overall else []), memory_table(results), cost_table(results)]
