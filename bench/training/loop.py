"""The one loop. From the first batch to the last step; a checkpoint when asked to stop and every few minutes."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.errors import TransientError
from bench.models.batch import Collator
from bench.prepare.data import Split
from bench.spec.cell import Cell
from bench.training.batches import epoch_batches, micro_batches
from bench.training.checkpoints import Checkpoints
from bench.training.core import Core
from bench.training.curve import Curve
from bench.training.loss import task_loss
from bench.training.signals import StopFlag

CHECKPOINT_SECONDS = 300.0
REPORT_SECONDS = 30.0


@dataclass
class Progress:
    """What is counted on the way, kept over interruptions."""

    tokens: int = 0
    rows: int = 0
    seconds: float = 0.0
    resumed_at: list[int] = field(default_factory=list)


@dataclass
class Loop:
    """Trains `core`'s model on `split` to the end of the schedule."""

    cell: Cell
    model: Any
    core: Core
    split: Split
    collate: Collator
    curve: Curve
    checkpoints: Checkpoints
    flag: StopFlag
    progress: Progress
    checkpoint_steps: int | None = None

    def run(self) -> None:
        """Raises TransientError when a signal asked to stop (saved), Diverged when a loss was not finite."""
        recipe, total = self.cell.recipe, self.core.schedule.total_steps
        per_epoch = recipe.steps_per_epoch(len(self.split))
        lengths = [len(ids) for ids in self.split.input_ids]
        clock = saved = told = time.monotonic()
        epoch, batches = -1, []
        while self.core.completed < total:
            step = self.core.completed
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                batches = epoch_batches(lengths, recipe.batch_size, self.cell.seed, epoch)
            self._step(batches[step % per_epoch])
            now = time.monotonic()
            self.progress.seconds += now - clock
            clock = now
            due = now - saved > CHECKPOINT_SECONDS
            due = due or (self.checkpoint_steps is not None and self.core.completed % self.checkpoint_steps == 0)
            if self.flag.name or (due and self.core.completed < total):
                self.save()
                if self.flag.name:
                    raise TransientError(f"{self.flag.name}: saved at step {self.core.completed} of {total}")
                saved = clock = time.monotonic()
            if now - told > REPORT_SECONDS:
                told = now
                print(f"step {self.core.completed} of {total}", file=sys.stderr, flush=True)
        self.curve.flush()

    def save(self) -> None:
        """A checkpoint from which another loop goes on bit for bit."""
        tensors, state = self.core.state_dict()
        tensors["rng.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["rng.cuda"] = torch.cuda.get_rng_state()
        state = {"core": state, "curve": self.curve.flush(), "progress": vars(self.progress)}
        self.checkpoints.save(self.core.completed, tensors, state)

    def _step(self, rows: list[int]) -> None:
        parts = micro_batches(rows, self.cell.recipe.accumulation)
        for part in parts:
            batch = self.collate(part)
            self.core.accumulate(task_loss(self.model, batch, self.cell.task.kind), len(part) / len(rows))
            self.progress.tokens += batch.tokens
        self.progress.rows += len(rows)
        report = self.core.step()
        ranks = list(self.core.live_ranks().values()) if report.masked or report.step == 1 else None
        self.curve.add(report, ranks)
