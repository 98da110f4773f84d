"""How ranks grow: from where, by how much, when one may ask for it."""

from __future__ import annotations

from pydantic import Field

from bench.config.recipe import NonNegative, Positive
from bench.config.types import Frozen


class Growth(Frozen):
    """All moments are fractions of the optimizer steps, so that a scaled-down study keeps them."""

    start_rank: Positive = Field(2, description="rank of every matrix at the start")
    ranks: Positive = Field(2, description="what one growth adds to a matrix")
    checks: Positive = Field(16, description="how often, evenly spread up to `until`, it is asked whether to grow")
    until: float = Field(0.8, gt=0, le=1, description="no growth behind this fraction of the steps")
    patience: Positive = Field(2, description="plateau: so many checks in a row without a better held-out loss")
    margin: float = Field(0.01, ge=0, lt=1, description="plateau: better is lower by more than this share of the best")
    warmup: NonNegative = Field(4, description="optimizer steps over which the learning rate of new ranks rises")
    ceiling: float = Field(2.0, ge=1, description="increlora: the most a matrix may reach, in average ranks of the end")

    def check_steps(self, total: int) -> list[int]:
        """The optimizer steps after which it is asked, in a training of `total`; each step once."""
        return sorted({max(1, round(total * self.until * k / self.checks)) for k in range(1, self.checks + 1)})
