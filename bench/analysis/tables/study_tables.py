"""The list of a study's tables, in the order in which they are read."""

from __future__ import annotations

from bench.analysis.published import read_published
from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.comparisons import comparison_table
from bench.analysis.tables.growth import growth_table, has_growing_ranks
from bench.analysis.tables.model import Table
from bench.analysis.tables.overall import overall_table
from bench.analysis.tables.pattern_agreement import pattern_agreement_table
from bench.analysis.tables.pattern_worth import pattern_worth_pairs, pattern_worth_table
from bench.analysis.tables.protocols import protocol_table
from bench.analysis.tables.published import published_table, secondary_table
from bench.analysis.tables.resources import cost_table, memory_table, parameter_table
from bench.analysis.tables.scores import Metrics, Shown, pair_table, score_table
from bench.analysis.tables.tuning import tuning_table
from bench.analysis.verdicts import method_pairs

METRICS: tuple[Metrics, ...] = ("reported", "other")


def study_tables(results: Results, comparer: Comparer) -> list[Table]:
    """Every table that the study's methods can fill.

    Raises BenchError for predictions that do not match their record, and for a malformed file of published numbers.
    """
    methods = list(results.labels)
    published = read_published(results)
    tables: list[Table | None] = []
    for metrics in METRICS:
        if "lora" in methods and "adalora" in methods:
            pair = Shown("lora_adalora", "LoRA against AdaLoRA", ["lora", "adalora"], metrics)
            tables.append(pair_table(comparer, pair))
        tables.append(score_table(comparer, Shown("methods", "All methods", methods, metrics)))
    tables += [published_table(results, published), secondary_table(results, published)]
    if method_pairs(results):
        tables.append(comparison_table(comparer))
    tables.append(pattern_agreement_table(results))
    if pairs := pattern_worth_pairs(results):
        tables.append(pattern_worth_table(comparer, pairs))
    tables.append(protocol_table(comparer))
    if has_growing_ranks(results):
        tables.append(growth_table(results))
    tables.append(overall_table(results))
    if results.tuning:
        tables.append(tuning_table(results))
    tables += [parameter_table(results), memory_table(results), cost_table(results)]
    return [table for table in tables if table is not None]
