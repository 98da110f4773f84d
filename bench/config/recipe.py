"""The recipe: how a task is trained. Every method of a task shares it, so that only what is compared differs.

Step counts hold at `reference_steps` total steps and scale with the total; without `reference_steps` they are absolute.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.config.types import Frozen

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]


class RankSchedule(Frozen):
    """Zhang et al. 2023 (AdaLoRA), section 3.3: the three phases of the budget, in optimizer steps.

    `initial_steps` (t_i) at the initial ranks, then the cubic decay with a mask every `interval` (delta T) steps, then
    `final_steps` (t_f) at the target.
    """

    initial_steps: NonNegative
    final_steps: NonNegative
    interval: Positive


class Recipe(Frozen):
    """Learning rate, epochs, batches, schedule."""

    learning_rate: float = Field(5e-4, gt=0, description="peak of AdamW's learning rate")
    epochs: float = Field(3.0, gt=0, description="passes over the training rows; a fraction is allowed")
    max_steps: Positive | None = Field(None, description="optimizer steps at the most; null: epochs decide")
    batch_size: Positive = Field(32, description="rows of one optimizer step, all micro-batches together")
    accumulation: Positive = Field(1, description="micro-batches an optimizer step, of each process")
    processes: Positive = Field(1, description="processes that share each optimizer step, a GPU each")
    evaluation_batch_size: Positive = Field(64, description="rows of one evaluation batch; halves if memory runs out")
    max_length: Positive = Field(128, description="source tokens; longer rows are truncated")
    max_target_length: Positive = Field(128, description="target tokens (summarization, text-label)")
    reference_steps: Positive | None = Field(None, description="total steps for which the step counts are written")
    warmup_steps: NonNegative | None = Field(None, description="linear warm-up; null: 6% of the steps")
    decay: Literal["linear", "constant"] = "linear"
    weight_decay: float = Field(0.0, ge=0, description="on matrices, not on biases and norms")
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_epsilon: float = Field(1e-8, gt=0)
    gradient_clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null: no clipping")
    head_dropout: float | None = Field(None, ge=0, lt=1, description="null: as the backbone's config says")
    adapter_dropout: float = Field(0.0, ge=0, lt=1)
    gradient_checkpointing: bool = False
    holdout_rows: NonNegative = Field(0, description="training rows that are never trained on: their loss is watched")
    score_epochs: bool = Field(False, description="score the evaluation splits after each epoch too, in curve.jsonl")
    validations: Positive = Field(10, description="how often their loss is taken where a study selects the best step")
    alpha: float = Field(16.0, gt=0, description="adapter scale: alpha / rank (LoRA), alpha / initial rank (AdaLoRA)")
    scale: float | None = Field(None, gt=0, description="the adapter's scale itself, in place of alpha over a rank")
    orthogonality: float = Field(0.1, ge=0, description="AdaLoRA's gamma, the weight of its regularizer")
    importance_betas: tuple[float, float] = Field((0.85, 0.85), description="AdaLoRA's beta1 and beta2")
    rank_schedule: RankSchedule | None = Field(
        None, description="null: 12% of the steps at the initial ranks, 48% at the final ones, a mask every 1%"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.batch_size % self.micro_batches:
            by = f"accumulation {self.accumulation}" + (f" x processes {self.processes}" if self.processes > 1 else "")
            raise ValueError(f"batch_size {self.batch_size} is no multiple of {by}")
        for name in ("adam_betas", "importance_betas"):
            if not all(0 < beta < 1 for beta in getattr(self, name)):
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        return self

    @property
    def micro_batches(self) -> int:
        """Of an optimizer step, those of all processes together."""
        return self.accumulation * self.processes

    def steps_per_epoch(self, rows: int) -> int:
        """Optimizer steps a pass over `rows` takes; the last, smaller batch counts."""
        return math.ceil(rows / self.batch_size)

    def total_steps(self, rows: int) -> int:
        """Optimizer steps of the whole training on `rows` training rows."""
        steps = max(1, round(self.steps_per_epoch(rows) * self.epochs))
        return min(steps, self.max_steps) if self.max_steps else steps

    def warmup_at(self, total: int) -> int:
        """Warm-up steps at a training of `total` optimizer steps."""
        return round(0.06 * total) if self.warmup_steps is None else self._scaled(self.warmup_steps, total)

    def rank_schedule_at(self, total: int) -> RankSchedule:
        """The rank schedule at a training of `total` optimizer steps; each phase keeps its fraction of the whole."""
        written = self.rank_schedule
        if written is None:
            return RankSchedule(
                initial_steps=round(0.12 * total), final_steps=round(0.48 * total), interval=max(1, round(0.01 * total))
            )
        return RankSchedule(
            initial_steps=self._scaled(written.initial_steps, total),
            final_steps=self._scaled(written.final_steps, total),
            interval=max(1, self._scaled(written.interval, total)),
        )

    def alpha_at(self, rank: int) -> float:
        """The alpha of an adapter of (initial) rank `rank`."""
        return self.alpha if self.scale is None else self.scale * rank

    def _scaled(self, steps: int, total: int) -> int:
        if self.reference_steps is None or self.reference_steps == total:
            return steps
        return round(steps * total / self.reference_steps)
