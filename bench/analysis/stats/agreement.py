"""How far rank patterns agree: Spearman's correlation over matrices, and a permutation test of its mean over pairs.

Matrices of one shape cost the same per rank, so under the null hypothesis their ranks are exchangeable; those of
different shapes are not. A permutation therefore moves ranks between matrices of one shape only, and what a mere effect
of the shape gives is the expectation of the null, not a finding.

The pairs of one mean differ in one thing, such as the method, and several cells share its value: all cells of one
method, whatever their seeds. They may resemble each other, and then the pairs repeat each other, however unlike the
methods are. All cells of one value, a *block*, are therefore permuted alike, anew in every replicate: this keeps every
resemblance within a block and breaks those between blocks. If each cell were permuted by itself, two methods that have
nothing in common would seem to agree, or to disagree, as soon as each of them repeats itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Shape = tuple[int, int]
PERMUTATIONS = 4_999
SEED = 20230310
LEVEL = 0.95
ROUNDING = 1e-9  # equal means may differ by rounding


@dataclass(frozen=True)
class Ranked:
    """The ranks of one cell's matrices, which must not all be equal, and the block that the cell belongs to."""

    ranks: Ints
    block: Hashable


@dataclass(frozen=True)
class Family:
    """Pairs of cells whose mean correlation is tested; the two of a pair have the same matrices and other blocks.

    `shapes`: of the matrices, in the order of the ranks.
    """

    shapes: tuple[Shape, ...]
    pairs: tuple[tuple[Ranked, Ranked], ...]


@dataclass(frozen=True)
class Agreement:
    """The mean correlation of some pairs, and what permutations within shapes give.

    Attributes:
        mean, low, high: of the pairs' correlations: their mean, the smallest and the largest.
        same: share of matrices that have the same rank in both cells of a pair, mean over the pairs.
        expected: exact expectation of the mean correlation under the null hypothesis.
        null_low, null_high: the 95% range of the mean correlation under the null hypothesis.
        p: two-sided, (1 + replicates at least as far from `expected` as `mean`) / (1 + replicates).
    """

    pairs: int
    mean: float
    low: float
    high: float
    same: float
    expected: float
    null_low: float
    null_high: float
    p: float


@dataclass
class Orders:
    """Random orders of the matrices, within shapes: of each block one per replicate, drawn when first asked for.

    Several means can share them, since each test is valid by itself and Holm's correction by any dependence.
    """

    permutations: int = PERMUTATIONS
    seed: int = SEED
    _drawn: dict[tuple[tuple[Shape, ...], Hashable], NDArray[np.int16]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._generator = np.random.default_rng(self.seed)

    def of(self, shapes: tuple[Shape, ...], block: Hashable) -> NDArray[np.int16]:
        """Replicates x matrices: which matrix's rank each matrix has instead of its own."""
        if (shapes, block) not in self._drawn:
            order = np.empty((self.permutations, len(shapes)), dtype=np.int16)  # a study has many, of few matrices
            for group in same_shape(shapes):
                order[:, group] = self._generator.permuted(np.tile(group, (self.permutations, 1)), axis=1)
            self._drawn[shapes, block] = order
        return self._drawn[shapes, block]


def agreement(families: Sequence[Family], orders: Orders) -> Agreement:
    """The agreement over all pairs of all families, of which there is at least one.

    Cells of different families have different matrices, so their blocks are permuted apart.
    """
    correlations: list[float] = []
    same: list[float] = []
    expected, null = 0.0, np.zeros(orders.permutations)
    for family in families:
        # Matrices x matrices, by pair of blocks: the sum over their pairs of cells of the outer products of the places.
        # With it, a replicate costs the same however many cells a block has.
        products: dict[tuple[Hashable, Hashable], Floats] = {}
        for first, second in family.pairs:
            one, other = standardized(first.ranks), standardized(second.ranks)
            correlations.append(float(one @ other))
            same.append(float((first.ranks == second.ranks).mean()))
            if (second.block, first.block) in products:
                products[second.block, first.block] += np.outer(other, one)
            else:
                products.setdefault((first.block, second.block), np.zeros((len(one), len(one))))
                products[first.block, second.block] += np.outer(one, other)
        groups = same_shape(family.shapes)
        for (first_block, second_block), matrix in products.items():
            expected += _expectation(matrix, groups)
            null += matrix[orders.of(family.shapes, first_block), orders.of(family.shapes, second_block)].sum(axis=1)
    pairs = len(correlations)
    mean, expected, null = float(np.mean(correlations)), expected / pairs, null / pairs
    beyond = int((np.abs(null - expected) >= abs(mean - expected) - ROUNDING).sum())
    low, high = np.quantile(null, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Agreement(
        pairs=pairs,
        mean=mean,
        low=min(correlations),
        high=max(correlations),
        same=float(np.mean(same)),
        expected=expected,
        null_low=float(low),
        null_high=float(high),
        p=(1 + beyond) / (1 + orders.permutations),
    )


def standardized(ranks: Ints) -> Floats:
    """The places of the ranks, ties averaged, with mean 0 and length 1: Spearman's ρ is the product of two of these."""
    places = np.asarray(rankdata(ranks), dtype=np.float64)
    centered = places - places.mean()
    return np.asarray(centered / np.linalg.norm(centered))


def same_shape(shapes: Iterable[Shape]) -> list[Ints]:
    """The positions of the matrices of each shape."""
    positions: dict[Shape, list[int]] = {}
    for position, shape in enumerate(shapes):
        positions.setdefault(shape, []).append(position)
    return [np.array(group, dtype=np.int64) for group in positions.values()]


def _expectation(products: Floats, groups: Sequence[Ints]) -> float:
    """The expected sum of products[k, l] over places k, l that two independent permutations bring together."""
    return float(sum(products[np.ix_(group, group)].sum() / len(group) for group in groups))
