"""Plain options of the training step and of the allocators: everything that the engine is told, and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from bench.errors import BenchError, nearest

ImportanceKind = Literal["sensitivity-uncertainty", "sensitivity", "magnitude"]
BudgetUnit = Literal["ranks", "parameters"]
OptimizerName = Literal["adamw", "adamw8bit"]


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """How one optimizer step is made: AdamW (Loshchilov and Hutter 2019), clipping, learning rate, regularizer.

    optimizer: `adamw8bit` keeps AdamW's moments in 8 bits (Dettmers et al. 2022), and needs bitsandbytes.
    learning_rate: the peak, after `warmup_steps` steps of linear warm-up from 0. decay: `linear` to 0 at the last step
    of the schedule, or `constant`. weight_decay: on matrices only, never on biases and norms. max_grad_norm: the
    largest norm of the whole gradient, adapter and heads together; None turns clipping off. orthogonality: gamma, the
    weight of AdaLoRA's regularizer; 0 costs nothing. micro_batches: how many losses make one step, where `accumulate`
    is not told each one's share.

    Raises BenchError if `max_grad_norm` is not above 0, or `micro_batches` below 1.
    """

    learning_rate: float = 5e-4
    warmup_steps: int = 0
    decay: Literal["linear", "constant"] = "linear"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    max_grad_norm: float | None = 1.0
    orthogonality: float = 0.0
    micro_batches: int = 1
    optimizer: OptimizerName = "adamw"

    def __post_init__(self) -> None:
        # With 0, which turns clipping off elsewhere, every gradient would be clipped to nothing.
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise BenchError(f"max_grad_norm is {self.max_grad_norm}: expected more than 0, or None for no clipping")
        if self.micro_batches < 1:
            raise BenchError(f"micro_batches is {self.micro_batches}: expected 1 or more")

    def learning_rate_at(self, step: int, total_steps: int) -> float:
        """The learning rate of the optimizer step that follows `step` steps, of `total_steps`."""
        if step < self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        if self.decay == "constant":
            return self.learning_rate
        return self.learning_rate * max(0, total_steps - step) / max(1, total_steps - self.warmup_steps)


@dataclass(frozen=True, kw_only=True)
class GrowthOptions:
    """How ranks grow: every matrix starts at `start_rank` and gains `ranks_per_growth` when its allocator says so.

    checks: the optimizer steps after which the allocator may decide to grow. patience and margin: for `plateau`, so
    many checks in a row without a held-out loss that is lower by the share `margin`. warmup_steps: optimizer steps
    over which the learning rate of new ranks rises.
    """

    checks: Collection[int]
    start_rank: int = 2
    ranks_per_growth: int = 2
    patience: int = 2
    margin: float = 0.01
    warmup_steps: int = 4


@dataclass(frozen=True, kw_only=True)
class MovingOptions:
    """How many ranks go from one matrix to another, `times` times in all, evenly between the schedule's outer phases.

    ranks: of all matrices, at the first move; later fewer. per_matrix: of one matrix in a move, at most.
    """

    ranks: int = 4
    per_matrix: int = 2
    times: int = 16


@dataclass(frozen=True, kw_only=True)
class GatesOptions:
    """How L1RA's gates learn (Singh et al. 2025, with the values of its configs), and how often ranks move.

    rate: of the gates, in units of the step's learning rate. sparsity: lambda, the weight of their L1 penalty. times:
    how often ranks with a shut gate move, evenly between the schedule's outer phases.
    """

    rate: float = 200.0
    sparsity: float = 0.005
    times: int = 20


@dataclass(frozen=True, kw_only=True)
class SalienceOptions:
    """How SalientLoRA measures the salience of ranks (Ke et al. 2024, with the values of its code).

    first_window, last_window: optimizer steps that the first measurement takes, and to which its windows grow.
    correlation, slope: from which on a rank counts as dependent on another; the slope is above 1.
    """

    first_window: int = 10
    last_window: int = 200
    correlation: float = 0.9
    slope: float = 2.0


@dataclass(frozen=True, kw_only=True)
class AllocatorOptions:
    """Which allocator decides the ranks (a name in `bench.engine.allocators.names`), and what it is told.

    unit: what the schedule's budgets count. importance, importance_betas, importance_gradient: how AdaLoRA scores a
    rank (equations 7 to 11); `clipped` gradients are what the published code sees, `raw` undoes the clipping. compact:
    ranks that are pruned when the allocation freezes leave parameters and optimizer state. growth: for allocators that
    let ranks grow. moving: for ElaLoRA. salience: for SalientLoRA. gates: for L1RA, as is weight_decay, the
    optimizer's. seed: for allocators that draw random steps or values. ranks: for `given`, the rank of each site.
    sparsity: for allocators with an L1 penalty on the singular values, its weight lambda in units of the learning rate.

    Raises BenchError if there is no such unit.
    """

    name: str = "fixed"
    unit: BudgetUnit = "ranks"
    importance: ImportanceKind = "sensitivity-uncertainty"
    importance_betas: tuple[float, float] = (0.85, 0.85)
    importance_gradient: Literal["clipped", "raw"] = "clipped"
    compact: bool = True
    growth: GrowthOptions | None = None
    moving: MovingOptions | None = None
    salience: SalienceOptions | None = None
    gates: GatesOptions | None = None
    weight_decay: float = 0.0
    seed: int = 0
    ranks: tuple[int, ...] | None = None
    sparsity: float = 0.4

    def __post_init__(self) -> None:
        units = get_args(BudgetUnit)
        if self.unit not in units:
            raise BenchError(f"unknown unit {self.unit!r}{nearest(self.unit, units)}")
