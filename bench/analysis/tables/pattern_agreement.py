"""The table of agreeing rank patterns: are the same ranks found with another seed, task, method or budget?"""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.footnotes import footnotes
from bench.analysis.pattern_methods import has_given_pattern, methods_of
from bench.analysis.pattern_pairs import PatternPairs, pattern_pairs, without_correlation
from bench.analysis.patterns import Sites
from bench.analysis.results import Results
from bench.analysis.stats.agreement import PERMUTATIONS, Agreement, Family, Orders, Ranked, agreement
from bench.analysis.stats.paired import holm
from bench.analysis.tables.model import Column, Entry, Table, count_entry, number_entry, text_entry
from bench.analysis.verdicts import ALPHA
from bench.analysis.wording import listed, number_text, p_value_text

COLUMNS = (
    Column("pairs differ in", head=True),
    Column("method", head=True),
    Column("budget", head=True),
    Column("mean", "Spearman's ρ"),
    Column("smallest", "Spearman's ρ"),
    Column("largest", "Spearman's ρ"),
    Column("by shape alone [95%]", parts=("mean", "low", "high")),
    Column("p"),
    Column("p, Holm"),
    Column("same rank", unit="% of matrices"),
    Column("pairs"),
)
AND = " and "  # between two methods or budgets; script.js splits at it
NOTE = (
    "Spearman's ρ (ties averaged) of the final ranks over the matrices of two cells that differ in one thing alone and "
    "have the same backbone; mean, smallest and largest over the pairs. By shape alone: mean and 95% range where ranks "
    f"are permuted over matrices of equal shape ({PERMUTATIONS:,} times; all cells alike that share what pairs differ "
    "in, such as all cells of one seed), so that what the shape of a matrix alone gives is no agreement. p: two-sided, "
    f"no less than {1 / (1 + PERMUTATIONS):.4f}. Bold: p < 0.05 after Holm over this table."
)


def pattern_agreement_table(results: Results) -> Table | None:
    """One row per method and budget, pairs of them where these differ; None where no two patterns can be compared."""
    rows = pattern_pairs(results)
    if not rows:
        return None
    orders = Orders()
    found = [agreement(_families(results, row), orders) for row in rows]
    adjusted = holm([each.p for each in found])
    return Table(
        name="pattern_agreement",
        title="Do the final ranks agree? Spearman's ρ over matrices, mean over pairs of cells",
        columns=COLUMNS,
        rows=tuple(_row(results, *each) for each in zip(rows, found, adjusted, strict=True)),
        footnotes=(NOTE, *_left_out(results), *footnotes(results)),
    )


def _families(results: Results, row: PatternPairs) -> list[Family]:
    return [
        Family(
            shapes=_shapes(sites),
            pairs=tuple(
                (
                    Ranked(results.patterns[first.id].ranks, row.relation.value(first)),
                    Ranked(results.patterns[second.id].ranks, row.relation.value(second)),
                )
                for first, second in pairs
            ),
        )
        for sites, pairs in row.by_sites.items()
    ]


def _shapes(sites: Sites) -> tuple[tuple[int, int], ...]:
    return tuple((site.in_features, site.out_features) for site in sites)


def _row(results: Results, row: PatternPairs, found: Agreement, adjusted_p: float | None) -> tuple[Entry, ...]:
    clear = adjusted_p is not None and adjusted_p < ALPHA
    expected, low, high = (number_text(value) for value in (found.expected, found.null_low, found.null_high))
    return (
        text_entry(row.relation.name),
        text_entry(AND.join(results.labels[method] for method in row.methods)),
        text_entry(AND.join(row.budgets)),
        Entry(number_text(found.mean), found.mean, bold=clear),
        number_entry(found.low),
        number_entry(found.high),
        Entry(f"{expected} [{low}, {high}]", found.expected, low=found.null_low, high=found.null_high),
        Entry(p_value_text(found.p), found.p),
        Entry(p_value_text(adjusted_p), adjusted_p),
        number_entry(100 * found.same, 0),
        count_entry(found.pairs),
    )


def _left_out(results: Results) -> Sequence[str]:
    """What has no part in the table."""
    notes = []
    equal = without_correlation(results)
    if equal:
        cells = "1 cell" if equal == 1 else f"{equal} cells"
        notes.append(f"Left out, all matrices ended with one rank, which has no correlation: {cells}.")
    given = [method.label for method in methods_of(results) if has_given_pattern(method)]
    if given:
        notes.append(
            f"Given ranks instead of learning them: {listed(given)}. They are compared with other methods alone, and "
            "only where their ranks are those of no learned method: the rest agrees by construction."
        )
    return notes
