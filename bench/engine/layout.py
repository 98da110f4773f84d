"""Where each row of an adapter stands in the flat buffer. Plain numbers, no tensors.

A rank of a matrix is a triplet: one row of A (length in_features), one row of B^T (length out_features) and one
singular value. Rows of equal length stand together, first those of all A, then those of all B^T, matrix by matrix in
the order of the sites. So the rows of a whole model are a few matrices [rows, length], and importance, regularizer and
optimizer need a few operations whatever the number of adapted matrices. The singular values follow in the order of the
rows of B^T, so that E times B is one product per length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bench.engine.options import BudgetUnit

Kept = tuple[tuple[int, ...], ...]  # per site, which of its initial ranks are left


@dataclass(frozen=True)
class Site:
    """One adapted matrix [out_features, in_features]; `name` is the path of its module inside the base model."""

    name: str
    in_features: int
    out_features: int

    @property
    def parameters_per_rank(self) -> int:
        """What one rank costs in a LoRA pair: a row of A and a column of B."""
        return self.in_features + self.out_features


@dataclass(frozen=True)
class Factor:
    """A or B^T of one site: `rows` rows from row `start` of its block."""

    site: int
    kind: Literal["A", "B"]
    start: int
    rows: int


@dataclass(frozen=True)
class Block:
    """All rows of one length: a matrix [rows, length] that begins at element `offset` of the buffer.

    The rows of B^T begin at row `first_b`. `first_row` and `first_triplet` count over all blocks before this one.
    """

    length: int
    offset: int
    first_row: int
    first_triplet: int
    factors: tuple[Factor, ...]

    @property
    def rows(self) -> int:
        return sum(factor.rows for factor in self.factors)

    @property
    def first_b(self) -> int:
        return sum(factor.rows for factor in self.factors if factor.kind == "A")

    @property
    def end(self) -> int:
        return self.offset + self.rows * self.length


@dataclass(frozen=True)
class Layout:
    """The places of the rows of `sites`, each with the ranks that `kept` names. svd: with singular values (AdaLoRA)."""

    sites: tuple[Site, ...]
    kept: Kept
    svd: bool

    @classmethod
    def initial(cls, sites: Sequence[Site], ranks: Sequence[int], svd: bool) -> Layout:
        return cls(tuple(sites), tuple(tuple(range(rank)) for rank in ranks), svd)

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(len(kept) for kept in self.kept)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks in ascending order of length. A length without rows has no block."""
        lengths = sorted({n for site in self.sites for n in (site.in_features, site.out_features)})
        blocks: list[Block] = []
        offset = row = triplet = 0
        for length in lengths:
            factors: list[Factor] = []
            start = 0
            for kind in ("A", "B"):
                for index, site in enumerate(self.sites):
                    if (site.in_features if kind == "A" else site.out_features) == length and self.ranks[index]:
                        factors.append(Factor(index, "A" if kind == "A" else "B", start, self.ranks[index]))
                        start += self.ranks[index]
            if factors:
                block = Block(length, offset, row, triplet, tuple(factors))
                blocks.append(block)
                offset, row, triplet = block.end, row + block.rows, triplet + block.rows - block.first_b
        return tuple(blocks)

    def costs(self, unit: BudgetUnit) -> list[int]:
        """What a rank of each site costs: 1, or its parameters, a singular value among them where there are any."""
        return [site.parameters_per_rank + self.svd if unit == "parameters" else 1 for site in self.sites]

    @property
    def row_elements(self) -> int:
        """Elements of all rows of A and B^T. The singular values begin there."""
        return self.blocks[-1].end if self.blocks else 0

    @property
    def triplets(self) -> int:
        return sum(self.ranks)

    @property
    def adapter_elements(self) -> int:
        """Elements of the whole adapter: A, B and E."""
        return self.row_elements + (self.triplets if self.svd else 0)

    @cached_property
    def first_triplets(self) -> tuple[int, ...]:
        """The first triplet of each site. Triplets are numbered in the order of the rows of B^T."""
        first = [0] * len(self.sites)
        for block in self.blocks:
            for factor in block.factors:
                if factor.kind == "B":
                    first[factor.site] = block.first_triplet + factor.start - block.first_b
        return tuple(first)

    @cached_property
    def rows_of_triplets(self) -> tuple[list[int], list[int]]:
        """For each triplet its row of A and its row of B^T, counted over all blocks."""
        rows = {"A": [0] * self.triplets, "B": [0] * self.triplets}
        for block in self.blocks:
            for factor in block.factors:
                for rank in range(factor.rows):
                    rows[factor.kind][self.first_triplets[factor.site] + rank] = block.first_row + factor.start + rank
        return rows["A"], rows["B"]

    @cached_property
    def ranks_of_triplets(self) -> list[tuple[int, int]]:
        """For each triplet its site and its place among the site's present ranks."""
        pairs = [(0, 0)] * self.triplets
        for site, first in enumerate(self.first_triplets):
            for rank in range(self.ranks[site]):
                pairs[first + rank] = (site, rank)
        return pairs

    def kept_by(self, mask: Sequence[bool]) -> Kept:
        """Which initial ranks of each site are left if only those stay whose `mask` [triplets] is true."""
        return tuple(
            tuple(rank for place, rank in enumerate(kept) if mask[first + place])
            for first, kept in zip(self.first_triplets, self.kept, strict=True)
        )

    def sources(self, block: Block, old: Layout) -> list[int]:
        """For each row of `block` the row it comes from in `old`'s block of the same length; -1 if `old` does not hold
        that rank."""
        starts = {
            (factor.site, factor.kind): factor.start
            for other in old.blocks
            if other.length == block.length
            for factor in other.factors
        }
        places = []
        for factor in block.factors:
            before = old.kept[factor.site]
            start = starts.get((factor.site, factor.kind), 0)
            places += [start + before.index(rank) if rank in before else -1 for rank in self.kept[factor.site]]
        return places

    def triplet_sources(self, old: Layout) -> list[int]:
        """For each triplet the triplet of `old` it comes from; -1 if `old` does not hold that rank."""
        pairs = [(site, self.kept[site][place]) for site, place in self.ranks_of_triplets]
        return [
            old.first_triplets[site] + old.kept[site].index(rank) if rank in old.kept[site] else -1
            for site, rank in pairs
        ]

    def new_since(self, old: Layout) -> Kept:
        """Per site, the initial ranks that this layout holds and `old` does not."""
        return tuple(
            tuple(rank for rank in kept if rank not in before) for kept, before in zip(self.kept, old.kept, strict=True)
        )

    def elements_of(self, ranks: Kept) -> list[int]:
        """The elements of A, B^T and E that belong to these initial ranks of each site; the layout must hold them."""
        elements: list[int] = []
        for block in self.blocks:
            for factor in block.factors:
                for rank in ranks[factor.site]:
                    row = factor.start + self.kept[factor.site].index(rank)
                    start = block.offset + row * block.length
                    elements += range(start, start + block.length)
        if self.svd:
            for site, wanted in enumerate(ranks):
                first = self.row_elements + self.first_triplets[site]
                elements += [first + self.kept[site].index(rank) for rank in wanted]
        return elements
