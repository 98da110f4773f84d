"""The agreement of rank patterns: known answers, and p-values of patterns that have nothing in common."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from bench.analysis.stats.agreement import Agreement, Family, Orders, Ranked, Shape, agreement

SMALL, LARGE = (384, 384), (384, 1536)
SHAPES: tuple[Shape, ...] = (*[SMALL] * 24, *[LARGE] * 12)
REPEATS = 400
REPLICATES = 199  # p is a multiple of 1 / 200
FARTHEST = 1.63 / REPEATS**0.5  # of the distribution of p from the uniform one: a p of 1% by Kolmogorov and Smirnov


def test_identical_patterns_agree_fully_with_the_smallest_p() -> None:
    ranks = np.arange(36)
    found = agreement([Family(SHAPES, ((Ranked(ranks, 0), Ranked(ranks, 1)),))], Orders(2_000))
    assert found.mean == found.low == found.high == pytest.approx(1.0)
    assert found.p == 1 / 2_001
    assert found.same == 1.0


def test_opposite_patterns_have_the_smallest_p_as_well() -> None:
    ranks = np.arange(36)
    found = agreement([Family((SMALL,) * 36, ((Ranked(ranks, 0), Ranked(35 - ranks, 1)),))], Orders(2_000))
    assert found.mean == pytest.approx(-1.0)
    assert found.p == 1 / 2_001


def test_the_correlation_is_that_of_scipy_with_ties() -> None:
    generator = np.random.default_rng(1)
    cells = [Ranked(generator.integers(0, 5, 36), seed) for seed in range(3)]
    pairs = ((cells[0], cells[1]), (cells[0], cells[2]), (cells[2], cells[1]))
    found = agreement([Family(SHAPES, pairs)], Orders(20))
    expected = [spearmanr(first.ranks, second.ranks).statistic for first, second in pairs]
    assert found.mean == pytest.approx(np.mean(expected))
    assert (found.low, found.high) == pytest.approx((min(expected), max(expected)))
    assert found.same == pytest.approx(np.mean([(first.ranks == second.ranks).mean() for first, second in pairs]))
    assert found.pairs == 3


def test_the_null_is_that_of_all_permutations_within_shapes() -> None:
    """Of three and three matrices all 36 orders can be listed: expectation, range and p are theirs."""
    first, second = np.array([1, 2, 4, 3, 5, 9]), np.array([2, 1, 3, 8, 6, 7])
    shapes = (SMALL, SMALL, SMALL, LARGE, LARGE, LARGE)
    every = [
        spearmanr(first, second[[*small, *large]]).statistic
        for small in permutations(range(3))
        for large in permutations(range(3, 6))
    ]
    center = np.mean(every)
    mean = spearmanr(first, second).statistic
    found = agreement([Family(shapes, ((Ranked(first, 0), Ranked(second, 1)),))], Orders(20_000))
    assert found.expected == pytest.approx(center)
    assert found.p == pytest.approx(np.mean(np.abs(every - center) >= abs(mean - center) - 1e-9), abs=0.015)
    assert found.null_low == pytest.approx(min(every))
    assert found.null_high == pytest.approx(max(every))


def shaped(generator: np.random.Generator) -> np.ndarray:
    """Ranks that are about 6 in the larger matrices and about 2 in the smaller ones, and else of chance."""
    return np.where([shape == LARGE for shape in SHAPES], 6, 2) + generator.integers(-1, 2, len(SHAPES))


def three_seeds(generator: np.random.Generator, shapes: tuple[Shape, ...]) -> list[Family]:
    """All pairs of three cells that have nothing in common but what a larger matrix gets."""
    cells = [Ranked(shaped(generator), seed) for seed in range(3)]
    return [Family(shapes, ((cells[0], cells[1]), (cells[0], cells[2]), (cells[1], cells[2])))]


def two_methods(generator: np.random.Generator, *, by_cell: bool) -> list[Family]:
    """Two methods with five seeds. Each repeats itself from seed to seed, but they have nothing in common.

    `by_cell`: each cell is a block of its own, as if it did not repeat others.
    """
    patterns = [shaped(generator) for _ in range(2)]
    cells = [
        [Ranked(pattern, (method, seed) if by_cell else method) for seed in range(5)]
        for method, pattern in enumerate(patterns)
    ]
    return [Family(SHAPES, tuple(zip(*cells, strict=True)))]


def p_values(families: Callable[[np.random.Generator], list[Family]]) -> np.ndarray:
    """Sorted, of `REPEATS` studies."""
    found = [agreement(families(np.random.default_rng(k)), Orders(REPLICATES, seed=k)).p for k in range(REPEATS)]
    return np.sort(found)


def distance_from_uniform(values: np.ndarray) -> float:
    """Of the distribution of the p-values, where it is too high: how much more often p is small than it says."""
    return float((np.arange(1, REPEATS + 1) / REPEATS - values).max())


def distance_both_ways(values: np.ndarray) -> float:
    return max(distance_from_uniform(values), float((values - np.arange(REPEATS) / REPEATS).max()))


def test_p_is_uniform_for_patterns_that_share_only_what_shapes_give() -> None:
    values = p_values(lambda generator: three_seeds(generator, SHAPES))
    assert distance_both_ways(values) < FARTHEST + 1 / (1 + REPLICATES)
    assert 0.02 <= np.mean(values <= 0.05) <= 0.08


def test_permuting_over_all_matrices_would_call_a_shape_an_agreement() -> None:
    values = p_values(lambda generator: three_seeds(generator, (SMALL,) * len(SHAPES)))
    assert distance_from_uniform(values) > 0.9
    assert np.mean(values <= 0.05) > 0.95


def test_p_is_uniform_for_methods_that_repeat_themselves_and_not_each_other() -> None:
    values = p_values(lambda generator: two_methods(generator, by_cell=False))
    assert distance_both_ways(values) < FARTHEST + 1 / (1 + REPLICATES)
    assert 0.02 <= np.mean(values <= 0.05) <= 0.08


def test_permuting_each_cell_by_itself_would_find_agreement_far_too_often() -> None:
    values = p_values(lambda generator: two_methods(generator, by_cell=True))
    assert distance_from_uniform(values) > 2 * FARTHEST
    assert np.mean(values <= 0.05) > 0.2


def shape_effect() -> Agreement:
    generator = np.random.default_rng(5)
    first, second = shaped(generator), shaped(generator)
    return agreement([Family(SHAPES, ((Ranked(first, 0), Ranked(second, 1)),))], Orders())


def test_larger_ranks_of_larger_matrices_are_no_agreement() -> None:
    found = shape_effect()
    assert found.mean > 0.6
    assert found.null_low < found.mean < found.null_high
    assert found.expected == pytest.approx(found.mean, abs=0.15)
    assert found.p > 0.1


def test_agreement_beyond_the_shapes_is_found() -> None:
    generator = np.random.default_rng(6)
    common = shaped(generator)
    cells = [Ranked(common + generator.integers(0, 2, len(SHAPES)), seed) for seed in range(3)]
    pairs = ((cells[0], cells[1]), (cells[0], cells[2]), (cells[1], cells[2]))
    found = agreement([Family(SHAPES, pairs)], Orders())
    assert found.mean > found.null_high
    assert found.p == 1 / 5_000


def test_families_of_other_matrices_are_permuted_apart_and_averaged_by_pair() -> None:
    up, down = np.arange(36), np.arange(35, -1, -1)
    one = Family((SMALL,) * 36, ((Ranked(up, 0), Ranked(up, 1)),))
    other = Family((SMALL,) * 9, ((Ranked(up[:9], 0), Ranked(down[-9:], 1)), (Ranked(up[:9], 1), Ranked(up[:9], 0))))
    found = agreement([one, other], Orders())
    assert found.mean == pytest.approx((1 - 1 + 1) / 3)
    assert found.pairs == 3
    assert found.expected == pytest.approx(0, abs=1e-12)


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert shape_effect() == shape_effect()
