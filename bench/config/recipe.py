"""Recipe: how a task is trained. All methods of a task share it, so that only the method differs between cells.

Step counts are written for a training of `reference_steps` optimizer steps and scale with the real number of steps.
Without `reference_steps` they are absolute.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.config.types import Frozen, NonNegative, Positive
from bench.engine.options import OptimizerName

Betas = Annotated[tuple[float, float], Field(strict=False)]  # a list in YAML; its items must be numbers all the same


class RankPhases(Frozen):
    """The three phases of AdaLoRA's budget, in optimizer steps (Zhang et al. 2023, section 3.3).

    The budget stays at the initial ranks for `initial_steps`, then falls along a cubic curve, then stays at the target
    for `final_steps`. The curve is that of the authors' code, not of the printed equation 12 (see
    `bench.engine.schedule.RankSchedule.budget`).
    """

    initial_steps: NonNegative = Field(description="Steps at the initial ranks: t_i in the paper, PEFT's tinit.")
    final_steps: NonNegative = Field(description="Last steps, at the target ranks: t_f in the paper, PEFT's tfinal.")
    interval: Positive = Field(description="Steps between two prunings: delta T in the paper, PEFT's deltaT.")


class Recipe(Frozen):
    """Learning rate, epochs, batches, schedules."""

    optimizer: OptimizerName = Field(
        "adamw",
        description="AdamW with its moments in 32 bits (adamw) or in 8 (adamw8bit, by bitsandbytes). "
        "The default is adamw.",
    )
    learning_rate: float = Field(5e-4, gt=0, description="Peak learning rate of AdamW. The default is 5e-4.")
    epochs: float = Field(
        3.0, gt=0, le=1e6, description="Passes over the training rows; a fraction is allowed. The default is 3."
    )
    max_steps: Positive | None = Field(
        None, description="Largest number of optimizer steps. The default null lets `epochs` alone decide."
    )
    batch_size: Positive = Field(
        32, description="Rows per optimizer step, over all micro-batches and processes. The default is 32."
    )
    accumulation: Positive = Field(1, description="Micro-batches per optimizer step in each process. The default is 1.")
    processes: Positive = Field(
        1, description="Processes that share each optimizer step, with one GPU each. The default is 1."
    )
    evaluation_batch_size: Positive = Field(
        64, description="Rows per evaluation batch; halved when memory runs out. The default is 64."
    )
    max_length: Positive = Field(
        128, description="Source tokens per row; longer rows are truncated. The default is 128."
    )
    max_target_length: Positive = Field(
        128, description="Target tokens per row, for tasks whose model writes or scores text. The default is 128."
    )
    reference_steps: Positive | None = Field(
        None,
        description="Total number of optimizer steps that `warmup_steps` and `rank_schedule` are written for. "
        "The default null takes them as absolute.",
    )
    warmup_steps: NonNegative | None = Field(
        None,
        description="Optimizer steps over which the learning rate rises linearly. "
        "The default null means 6% of the steps.",
    )
    decay: Literal["linear", "constant"] = Field(
        "linear", description="Learning rate after the warm-up: linear falls to zero. The default is linear."
    )
    weight_decay: float = Field(
        0.0, ge=0, description="Weight decay of AdamW, on matrices but not on biases and norms. The default is 0."
    )
    adam_betas: Betas = Field((0.9, 0.999), description="Beta1 and beta2 of AdamW. The default is 0.9 and 0.999.")
    adam_epsilon: float = Field(1e-8, gt=0, description="Epsilon of AdamW. The default is 1e-8.")
    gradient_clip: float | None = Field(
        1.0, gt=0, description="Largest norm of the gradient; null turns clipping off. The default is 1."
    )
    head_dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout before the classifier. The default null keeps the backbone's own."
    )
    adapter_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the adapter's input. The default is 0.")
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass to save memory. The default is false."
    )
    holdout_rows: NonNegative = Field(
        0,
        description="Training rows (of a question-answering task, questions) that are kept out of the training to "
        "watch their loss. The default is 0.",
    )
    score_epochs: bool = Field(
        False,
        description="Also score the evaluation splits after each epoch and write the scores to curve.jsonl, with the "
        "loss on held-out rows where `holdout_rows` asks for some. The default is false.",
    )
    validations: Positive = Field(
        10,
        description="Number of times the held-out loss is computed if the study selects the best step. "
        "The default is 10.",
    )
    alpha: float = Field(
        16.0,
        gt=0,
        description="The adapter's output is scaled by alpha / rank (LoRA) or alpha / initial rank (AdaLoRA). "
        "The default is 16.",
    )
    scale: float | None = Field(
        None,
        gt=0,
        description="Scale of the adapter's output itself, in place of alpha / rank. "
        "The default null means alpha / rank.",
    )
    orthogonality: float = Field(
        0.1, ge=0, description="Weight of AdaLoRA's regularizer: gamma in the paper. The default is 0.1."
    )
    importance_betas: Betas = Field(
        (0.85, 0.85), description="Beta1 and beta2 of AdaLoRA's importance. The default is 0.85 for both."
    )
    rank_schedule: RankPhases | None = Field(
        None,
        description="Phases of AdaLoRA's budget. The default null means 12% of the steps at the initial ranks, 48% at "
        "the final ranks, and a pruning every 1%.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.batch_size % self.micro_batches:
            factors = f"accumulation {self.accumulation}"
            if self.processes > 1:
                factors += f" x processes {self.processes}"
            raise ValueError(f"batch_size {self.batch_size} is no multiple of {factors}")
        for name in ("adam_betas", "importance_betas"):
            if not all(0 < beta < 1 for beta in getattr(self, name)):
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        return self

    @property
    def micro_batches(self) -> int:
        """Micro-batches per optimizer step, over all processes."""
        return self.accumulation * self.processes

    def steps_per_epoch(self, rows: int) -> int:
        """Optimizer steps per pass over `rows` rows. A last, smaller batch counts as one step."""
        return math.ceil(rows / self.batch_size)

    def total_steps(self, rows: int) -> int:
        """Optimizer steps of the whole training on `rows` training rows."""
        steps = max(1, round(self.steps_per_epoch(rows) * self.epochs))
        return min(steps, self.max_steps) if self.max_steps else steps

    def warmup_at(self, total: int) -> int:
        """Warm-up steps of a training of `total` optimizer steps."""
        return round(0.06 * total) if self.warmup_steps is None else self._scaled(self.warmup_steps, total)

    def rank_schedule_at(self, total: int) -> RankPhases:
        """The phases of a training of `total` optimizer steps; each phase keeps its fraction of the whole."""
        phases = self.rank_schedule
        if phases is None:
            return RankPhases(
                initial_steps=round(0.12 * total),
                final_steps=round(0.48 * total),
                interval=max(1, round(0.01 * total)),
            )
        return RankPhases(
            initial_steps=self._scaled(phases.initial_steps, total),
            final_steps=self._scaled(phases.final_steps, total),
            interval=max(1, self._scaled(phases.interval, total)),
        )

    def alpha_at(self, rank: int) -> float:
        """The alpha of an adapter whose (initial) rank is `rank`."""
        return self.alpha if self.scale is None else self.scale * rank

    def _scaled(self, steps: int, total: int) -> int:
        """`steps` as written, for a training of `total` steps."""
        if self.reference_steps is None or self.reference_steps == total:
            return steps
        return round(steps * total / self.reference_steps)
