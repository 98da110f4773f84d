"""Rank patterns: the final rank of every adapted matrix of a cell, in the compact form in which a study keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.records.schema import Record


class Site(NamedTuple):
    """One adapted matrix; `name` is that of its module, the rest as in `bench.records.schema.SiteRank`."""

    name: str
    matrix: str
    layer: int | None
    stack: str
    in_features: int
    out_features: int


Sites = tuple[Site, ...]


@dataclass(frozen=True)
class Pattern:
    """The ranks that a training ended with: `ranks[k]` is that of `sites[k]`."""

    sites: Sites
    ranks: NDArray[np.int64]

    @cached_property
    def varies(self) -> bool:
        """Whether the matrices have different ranks."""
        return len(set(self.ranks.tolist())) > 1


class PatternReader:
    """Makes patterns of records. Cells of one backbone share their sites, which are kept once."""

    def __init__(self) -> None:
        self._known: dict[Sites, Sites] = {}

    def read(self, record: Record) -> Pattern | None:
        """The pattern of a whole record; None if it failed, or if its adapter has no ranks of ours."""
        if record.status != "ok" or not record.ranks:
            return None
        names = sorted(record.ranks)
        sites = tuple(
            Site(name, rank.matrix, rank.layer, rank.stack, rank.in_features, rank.out_features)
            for name, rank in ((name, record.ranks[name]) for name in names)
        )
        ranks = np.array([record.ranks[name].end for name in names], dtype=np.int64)
        return Pattern(self._known.setdefault(sites, sites), ranks)
