"""Pairs of cells that differ in one thing alone, whose rank patterns are compared."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from itertools import combinations

from bench.analysis.pattern_methods import has_given_pattern, source_of
from bench.analysis.patterns import Pattern, Sites
from bench.analysis.results import Results
from bench.config.cell import Cell

Pair = tuple[Cell, Cell]


@dataclass(frozen=True)
class Relation:
    """What the cells of a pair differ in; `value` is that of a cell."""

    name: str
    value: Callable[[Cell], Hashable]


SEED = Relation("seed", lambda cell: cell.seed)
TASK = Relation("task", lambda cell: cell.task.name)
METHOD = Relation("method", lambda cell: cell.method.name)
BUDGET = Relation("budget", lambda cell: cell.budget_name)
RELATIONS = (SEED, TASK, METHOD, BUDGET)


@dataclass
class PatternPairs:
    """The pairs of one row of the table.

    Attributes:
        methods, budgets: names, two of what the cells of a pair differ in, else one.
        by_sites: the pairs, by the matrices that their cells have.
    """

    relation: Relation
    methods: tuple[str, ...]
    budgets: tuple[str, ...]
    by_sites: dict[Sites, list[Pair]] = field(default_factory=dict)


def pattern_pairs(results: Results) -> list[PatternPairs]:
    """All pairs of cells with the same backbone and matrices that differ in the seed, task, method or budget alone.

    Cells whose matrices all have one rank are left out, since they have no correlation. So are methods that are given
    their ranks, which repeat them; but one that is given those of no learned method is paired with other methods.
    """
    methods_in_order, budgets_in_order = list(results.labels), results.budgets
    rows: dict[tuple[Hashable, ...], PatternPairs] = {}
    cells = [cell for cell in results.cells if (pattern := results.patterns.get(cell.id)) and pattern.varies]
    for relation in RELATIONS:
        for first, second in _pairs(cells, relation, results):
            methods = tuple(sorted({first.method.name, second.method.name}, key=methods_in_order.index))
            budgets = tuple(sorted({first.budget_name, second.budget_name}, key=budgets_in_order.index))
            row = rows.setdefault((relation.name, methods, budgets), PatternPairs(relation, methods, budgets))
            row.by_sites.setdefault(results.patterns[first.id].sites, []).append((first, second))
    return sorted(
        rows.values(),
        key=lambda row: (
            RELATIONS.index(row.relation),
            [methods_in_order.index(method) for method in row.methods],
            [budgets_in_order.index(budget) for budget in row.budgets],
        ),
    )


def without_correlation(results: Results) -> int:
    """How many cells have one rank in all matrices, among those of a method and budget of which others have not."""
    groups: dict[tuple[str, str], list[Pattern]] = {}
    for cell in results.cells:
        if cell.id in results.patterns:
            groups.setdefault((cell.method.name, cell.budget_name), []).append(results.patterns[cell.id])
    varied = [patterns for patterns in groups.values() if any(pattern.varies for pattern in patterns)]
    return sum(not pattern.varies for patterns in varied for pattern in patterns)


def _pairs(cells: list[Cell], relation: Relation, results: Results) -> Iterator[Pair]:
    """In the order of the study; the first of a pair comes first in the study."""
    alike: dict[tuple[Hashable, ...], list[Cell]] = {}
    for cell in cells:
        if _taken(cell, relation):
            continue
        others = [other.value(cell) for other in RELATIONS if other is not relation]
        alike.setdefault((*others, cell.backbone.name, results.patterns[cell.id].sites), []).append(cell)
    for group in alike.values():
        yield from combinations(group, 2)


def _taken(cell: Cell, relation: Relation) -> bool:
    """Whether the pattern of the cell agrees with others by construction."""
    return has_given_pattern(cell.method) and (relation is not METHOD or source_of(cell.method) is not None)
