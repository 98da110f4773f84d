"""The list of a study's tables, in the order in which they are read."""

from __future__ import annotations

from bench.analysis.published import read_published
from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.comparisons import comparison_table, method_pairs
from bench.analysis.tables.growth import growth_table, has_growing_ranks
from bench.analysis.tables.model import Table
from bench.analysis.tables.overall import overall_table
from bench.analysis.tables.protocols import protocol_table
from bench.analysis.tables.resources import cost_table, memory_table
from bench.analysis.tables.scores import score_table
from bench.analysis.tables.tuning import tuning_table


def study_tables(results: Results, comparer: Comparer) -> list[Table]:
    """Every table that the study's methods can fill.

    Raises BenchError for predictions that do not match their record, and for a malformed file of published numbers.
    """
    methods = list(results.labels)
    published = read_published(results)
    tables = []
    if "lora" in methods and "adalora" in methods:
        pair = ["lora", "adalora"]
        tables.append(score_table(comparer, "lora_adalora", "LoRA against AdaLoRA", pair, published, differences=True))
    tables.append(score_table(comparer, "methods", "All methods", methods, published))
    if method_pairs(results):
        tables.append(comparison_table(comparer))
    protocols = protocol_table(comparer)
    if protocols is not None:
        tables.append(protocols)
    if has_growing_ranks(results):
        tables.append(growth_table(results))
    overall = overall_table(results)
    if overall is not None:
        tables.append(overall)
    if results.tuning:
        tables.append(tuning_table(results))
    return [*tables, memory_table(results), cost_table(results)]
