"""Which cells have their rank patterns compared, and which methods are baselines of a learned pattern."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.records import study_of

from bench.analysis.pattern_methods import learned_methods, worth_pairs
from bench.analysis.pattern_pairs import PatternPairs, pattern_pairs, without_correlation
from bench.analysis.patterns import Pattern, Site
from bench.analysis.results import Results
from bench.config.cell import Cell
from bench.config.method import Method
from bench.config.rank_rules import Pattern as MethodPattern
from bench.config.resolve import ResolvedStudy, load_study
from bench.paths import StudyPaths

METHODS = {cell.method.name: cell.method for cell in load_study("ablations").cells} | {
    cell.method.name: cell.method for cell in load_study("demo").cells
}


def changed(name: str, like: str, **changes: Any) -> Method:
    """A method like an existing one, with other fields. They are not validated."""
    return METHODS[like].model_copy(update={"name": name, "label": name, **changes})


def given(name: str, source: str | None, like: str = "svd_lora") -> Method:
    pattern = MethodPattern(source=source) if source else MethodPattern(draw="random")
    return changed(name, like, allocator="given", pattern=pattern)


TRUNCATED = changed("truncated", "lora", allocator="truncated")


def sites(backbone: str) -> tuple[Site, ...]:
    return tuple(Site(f"{backbone}.{k}.query", "query", k, backbone, 8, 8 if k < 4 else 16) for k in range(6))


def results_of(study: ResolvedStudy, ranks: Callable[[Cell], list[int] | None]) -> Results:
    """The study as if its cells had ended with these ranks; None: the cell has no record."""
    patterns = {
        cell.id: Pattern(sites(cell.backbone.name), np.array(found))
        for cell in study.cells
        if (found := ranks(cell)) is not None
    }
    return Results(study, {}, StudyPaths(Path("nowhere"), study.name), patterns=patterns)


def with_methods(study: ResolvedStudy, methods: dict[str, Method]) -> ResolvedStudy:
    """The study with other methods in place of those of these names."""
    cells = [cell.model_copy(update={"method": methods.get(cell.method.name, cell.method)}) for cell in study.cells]
    return replace(study, cells=tuple(cells))


def learned(cell: Cell) -> list[int]:
    """LoRA has one rank everywhere."""
    return [2] * 6 if "adalora" not in cell.method.name else [0, 1, 2, 3, 4, 2]


def counts(rows: list[PatternPairs]) -> dict[tuple[str, str, str], int]:
    return {
        (row.relation.name, "+".join(row.methods), "+".join(row.budgets)): sum(map(len, row.by_sites.values()))
        for row in rows
    }


def test_every_pair_that_differs_in_one_thing_is_in_one_row() -> None:
    results = results_of(study_of(3), learned)
    both = "adalora+qlora_adalora"
    expected = {}
    for budget in ("small", "large"):
        for method in ("adalora", "qlora_adalora"):
            expected["seed", method, budget] = 5 * 3  # tasks x pairs of seeds
            expected["task", method, budget] = 6 * 3  # pairs of the four tasks on one backbone x seeds
        expected["method", both, budget] = 5 * 3
    for method in ("adalora", "qlora_adalora"):
        expected["budget", method, "small+large"] = 5 * 3
    found = counts(pattern_pairs(results))
    assert found == expected
    assert [key[0] for key in found] == sorted(
        (key[0] for key in found), key=["seed", "task", "method", "budget"].index
    )


def test_pairs_differ_in_what_the_row_says_and_in_nothing_else() -> None:
    for row in pattern_pairs(results_of(study_of(2), learned)):
        for found, pairs in row.by_sites.items():
            for first, second in pairs:
                keys = [(cell.seed, cell.task.name, cell.method.name, cell.budget_name) for cell in (first, second)]
                assert sum(one != other for one, other in zip(*keys, strict=True)) == 1
                assert row.relation.value(first) != row.relation.value(second)
                assert first.backbone.name == second.backbone.name
                assert found == sites(first.backbone.name)


def test_one_rank_everywhere_has_no_correlation_and_is_counted_where_others_differ() -> None:
    study = study_of(3, "tasks=[cola]", "methods=[lora, adalora]", "grids=[{budgets: [small]}]")
    results = results_of(study, lambda cell: [1] * 6 if cell.seed == 1 else learned(cell))
    assert counts(pattern_pairs(results)) == {("seed", "adalora", "small"): 1}
    assert without_correlation(results) == 1


def test_cells_without_a_record_and_cells_with_other_matrices_are_in_no_pair() -> None:
    study = study_of(3, "tasks=[cola]", "methods=[adalora]", "grids=[{budgets: [small]}]")
    results = results_of(study, lambda cell: None if cell.seed == 1 else learned(cell))
    assert counts(pattern_pairs(results)) == {("seed", "adalora", "small"): 1}
    other = {study.cells[0].id: Pattern(sites("another"), np.arange(6))}
    assert pattern_pairs(replace(results, patterns={**results.patterns, **other})) == []


@pytest.mark.parametrize(("source", "rows"), [("adalora", []), (None, [("method", "adalora+given", "small")])])
def test_given_patterns_are_compared_with_other_methods_unless_these_are_their_source(
    source: str | None, rows: list[tuple[str, str, str]]
) -> None:
    study = study_of(2, "tasks=[cola, sst2]", "methods=[adalora, qlora_adalora]", "grids=[{budgets: [small]}]")
    study = with_methods(study, {"qlora_adalora": given("given", source)})
    found = counts(pattern_pairs(results_of(study, lambda _: [0, 1, 2, 3, 4, 2])))
    assert [key for key in found if "given" in key[1]] == rows
    assert ("seed", "adalora", "small") in found


def test_a_method_learns_its_ranks_if_its_allocator_moves_them_and_they_differ() -> None:
    study = study_of(1, "methods=[lora, adalora, qlora, qlora_adalora]")
    study = with_methods(study, {"qlora": given("replayed", "adalora"), "lora": TRUNCATED})
    assert learned_methods(results_of(study, lambda _: [0, 1, 2, 3, 4, 2])) == ["adalora", "qlora_adalora"]
    equal = results_of(study, lambda cell: [2] * 6 if cell.method.name == "adalora" else [0, 1, 2, 3, 4, 2])
    assert learned_methods(equal) == ["qlora_adalora"]


def test_baselines_are_given_patterns_late_cuts_and_plain_lora_of_the_same_storage() -> None:
    methods = [
        *(METHODS[name] for name in ("lora", "lora_orthogonal", "svd_lora", "adalora", "qlora", "qlora_adalora")),
        given("shuffled", "adalora"),
        given("random_pattern", None),
        given("of_another", "adalora_magnitude"),
        given("on_four_bits", None, like="qlora"),
        TRUNCATED,
        changed("truncated_queries", "lora", allocator="truncated", matrices=["query"]),
    ]
    pairs = worth_pairs(methods, ["adalora", "qlora_adalora"])
    assert pairs == [
        *((baseline, "adalora") for baseline in ("lora", "shuffled", "random_pattern", "truncated")),
        *((baseline, "qlora_adalora") for baseline in ("qlora", "on_four_bits")),
    ]


def test_plain_lora_alone_is_no_baseline_of_a_pattern() -> None:
    assert worth_pairs([METHODS["lora"], METHODS["adalora"], METHODS["adalora_magnitude"]], ["adalora"]) == []
    assert worth_pairs([METHODS["lora"], TRUNCATED], []) == []
