"""Budget: a cap on what an adapter keeps at the end of the training, as an average rank or as parameters."""

from __future__ import annotations

from pydantic import Field, model_validator

from bench.config.types import Frozen, Positive


class Budget(Frozen):
    """Exactly one of `rank` and `parameters` states the cap."""

    rank: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Average rank per matrix at the end of the training. "
        "A fraction such as 2.5 is allowed where ranks differ between matrices.",
    )
    parameters: Positive | None = Field(
        None, description="Adapter parameters at the end of the training; heads are not counted."
    )
    initial_rank: Positive | None = Field(
        None,
        description="Rank of every matrix at the start, for methods whose ranks shrink; the largest rank of a matrix, "
        "where ranks move between matrices. The default null means 1.5 times the average rank at the end.",
    )
    alpha: float | None = Field(
        None, gt=0, description="Replaces the recipe's alpha for this budget. The default null keeps the recipe's."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Budget:
        if (self.rank is None) == (self.parameters is None):
            raise ValueError("give exactly one of rank, parameters")
        if self.rank is not None and self.initial_rank is not None and self.initial_rank < self.rank:
            raise ValueError(f"initial_rank {self.initial_rank} is smaller than rank {self.rank:g}")
        return self
