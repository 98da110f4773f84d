"""What a method's file says of its rule for ranks, beside the allocator's name: one block for each kind of motion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from bench.config.types import Frozen, KeyName, NonNegative, Positive


class Growth(Frozen):
    """How ranks grow: from which rank, by how much, and when an allocator may ask for it.

    All moments are fractions of the optimizer steps, so that a scaled-down study keeps them.
    """

    start_rank: Positive = Field(2, description="Rank of every matrix at the start. The default is 2.")
    ranks: Positive = Field(2, description="Ranks that one growth adds to a matrix. The default is 2.")
    checks: Positive = Field(
        16, description="Number of checks for growth, spread evenly over the steps before `until`. The default is 16."
    )
    until: float = Field(
        0.8, gt=0, le=1, description="Fraction of the steps after which nothing grows any more. The default is 0.8."
    )
    patience: Positive = Field(
        2,
        description="For the allocator plateau: number of checks in a row without a better held-out loss before ranks "
        "grow. The default is 2.",
    )
    margin: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="For the allocator plateau: a loss counts as better if it is lower than the best one by more than "
        "this fraction of it. The default is 0.01.",
    )
    warmup: NonNegative = Field(
        4, description="Optimizer steps over which the learning rate of new ranks rises. The default is 4."
    )
    ceiling: float = Field(
        2.0,
        ge=1,
        le=1e6,
        description="For allocators that grow matrices apart, such as increlora: largest rank of a matrix, as a "
        "multiple of the average rank at the end. The default is 2.",
    )

    def check_steps(self, total: int) -> list[int]:
        """The optimizer steps after which an allocator may grow, in a training of `total` steps; sorted, no repeats."""
        return sorted({max(1, round(total * self.until * k / self.checks)) for k in range(1, self.checks + 1)})


class Gradients(Frozen):
    """How GoRA gathers gradients of the pretrained weights, and what it makes of them."""

    batches: Positive = Field(
        32, description="Batches, from the first one of the training, whose gradients are gathered. The default is 32."
    )
    scale: float = Field(
        0.05,
        ge=0,
        le=1e6,
        description="Size of the first update, about as a fraction of the gathered gradient's norm. "
        "The default is 0.05.",
    )
    least: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Smallest rank of a matrix, as a fraction of the average rank and rounded down. "
        "The default is 0.5.",
    )


class Pattern(Frozen):
    """Where the ranks come from that the allocator `given` holds from the first step: exactly one of the two."""

    source: KeyName | None = Field(
        None,
        description="Method whose finished cell has the ranks: of the same study, budget and, where `cell` says no "
        "other, task and seed. Where the study tunes, its values are taken over too.",
    )
    draw: Literal["random", "stable-rank", "eva", "gora"] | None = Field(
        None,
        description="How ranks are drawn: `random` lets the seed choose among all ranks up to the initial rank; "
        "`stable-rank` gives each matrix a share by the stable rank of its pretrained weight; `eva` by the variance of "
        "what flows into it, whose directions A starts with; `gora` by its weight times the gradient, from which B "
        "starts.",
    )
    gradients: Gradients | None = Field(
        None, description="How gradients are gathered; required for `draw: gora`, and only for it."
    )
    cell: Literal["same", "next-task", "next-seed"] = Field(
        "same",
        description="Which cell of `source`: the same, or that of the next task (of the same backbone) or seed in the "
        "study's order; the last one takes the first. The default is same.",
    )
    shuffle: bool = Field(
        False,
        description="Permute the ranks of `source` over matrices of equal shape, by the seed. The default is false.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Pattern:
        if (self.source is None) == (self.draw is None):
            raise ValueError("give exactly one of source, draw")
        if self.source is None and (self.shuffle or self.cell != "same"):
            raise ValueError("cell and shuffle need a source")
        if (self.draw == "gora") != (self.gradients is not None):
            raise ValueError("draw: gora and the block `gradients` go together")
        return self


class Moving(Frozen):
    """How many ranks go from one matrix to another, and how often: evenly between the first and the last phase of the
    recipe's `rank_schedule`."""

    ranks: Positive = Field(
        4,
        description="Ranks that all matrices together lose and gain at the first move; later fewer. The default is 4.",
    )
    per_matrix: Positive = Field(
        2, description="Ranks that one matrix loses or gains at most in one move. The default is 2."
    )
    times: Positive = Field(16, description="Number of moves in the whole training. The default is 16.")


class Gates(Frozen):
    """How L1RA's gates learn, with the values of its authors' configs, and how often ranks with a shut gate move."""

    rate: float = Field(
        200.0,
        ge=1,
        le=1e6,
        description="Learning rate of the gates, in units of the adapter's. The default is 200.",
    )
    sparsity: float = Field(
        0.005,
        ge=0,
        le=1e6,
        description="Weight lambda of the L1 penalty on the gates: each step takes lambda times their rate off them. "
        "The default is 0.005.",
    )
    times: Positive = Field(
        20,
        description="How often ranks move in the whole training, evenly between the first and the last phase of the "
        "recipe's `rank_schedule`. The default is 20.",
    )


class Salience(Frozen):
    """How SalientLoRA measures the salience of ranks, with the values of its authors' code."""

    first_window: Positive = Field(
        10, description="Optimizer steps that the first measurement takes. The default is 10."
    )
    last_window: Positive = Field(
        200, description="Optimizer steps to which the windows of later measurements grow. The default is 200."
    )
    correlation: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Correlation of two singular values from which on one counts as dependent on the other. "
        "The default is 0.9.",
    )
    slope: float = Field(
        2.0,
        gt=1,
        le=1e6,
        description="How much one singular value must change for each change of another to count as dependent on it. "
        "The default is 2.",
    )

    @model_validator(mode="after")
    def _growing(self) -> Salience:
        if self.last_window < self.first_window:
            raise ValueError(f"last_window {self.last_window} is smaller than first_window {self.first_window}")
        return self
