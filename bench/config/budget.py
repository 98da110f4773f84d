"""Budget: a cap on what an adapter keeps at the end, as an average rank a matrix or as parameters."""

from __future__ import annotations

from pydantic import Field, model_validator

from bench.config.recipe import Positive
from bench.config.types import Frozen


class Budget(Frozen):
    rank: float | None = Field(None, gt=0, description="average rank a matrix at the end; 2.5 is legal if ranks vary")
    parameters: Positive | None = Field(None, description="adapter parameters at the end (heads not counted)")
    initial_rank: Positive | None = Field(None, description="rank of every matrix at the start, where ranks shrink")
    alpha: float | None = Field(None, gt=0, description="in place of the recipe's alpha")

    @model_validator(mode="after")
    def _consistent(self) -> Budget:
        if (self.rank is None) == (self.parameters is None):
            raise ValueError("give exactly one of rank, parameters")
        if self.rank is not None and self.initial_rank is not None and self.initial_rank < self.rank:
            raise ValueError(f"initial_rank {self.initial_rank} is smaller than rank {self.rank}")
        return self
