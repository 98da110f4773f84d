"""The one loop: from the first batch to the last step of the schedule, with a checkpoint when one is due."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from bench.config.cell import Cell
from bench.engine.report import StepReport
from bench.engine.step import Core
from bench.evaluation.loss import loss_weight, task_loss
from bench.inputs.collate import Collator
from bench.inputs.splits import Split
from bench.log import progress_bar
from bench.nvml import cells_on_gpu
from bench.records.environment import environment
from bench.training.batches import epoch_batches, micro_batches
from bench.training.best_step import BestStep
from bench.training.checkpoints import Checkpoints
from bench.training.curve import Curve, Extras
from bench.training.holdout import HeldOut
from bench.training.measure import PeakMemory
from bench.training.rng import random_states
from bench.training.signals import StopFlag
from bench.training.stopwatch import Stopwatch

Scores = Mapping[str, Mapping[str, float | None]]


@dataclass
class Counters:
    """Counts that a checkpoint keeps. Steps that were lost in an interruption are not counted.

    devices: the models of the devices of all processes on which the tries so far went on from each other, each one
    once. cells_per_gpu: the most cells that could share the GPU in one of these tries. peak: the most that any of them
    took, see `PeakMemory.largest`.
    """

    tokens: int = 0
    rows: int = 0
    attempt: int = 1
    resumed_at: list[int] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    restarted: bool = False
    devices: list[str] = field(default_factory=list)
    cells_per_gpu: int = 1
    peak: dict[str, int] = field(default_factory=dict)

    def add_devices(self, names: Sequence[str]) -> None:
        """Note the models of the devices of this try, one per process."""
        self.devices += [name for name in dict.fromkeys(names) if name not in self.devices]


@dataclass
class Loop:
    """Trains the model of `core` on `split`, up to `last_step` of its schedule.

    `score` evaluates the model on the evaluation splits.
    """

    cell: Cell
    model: Any
    core: Core
    split: Split
    collate: Collator
    curve: Curve
    checkpoints: Checkpoints
    flag: StopFlag
    counters: Counters
    peak: PeakMemory
    stopwatch: Stopwatch
    held_out: HeldOut
    score: Callable[[], Scores]
    last_step: int
    best: BestStep | None = None

    def run(self) -> None:
        """Raises TransientError when a signal asked to stop (saved), Diverged when a loss was not finite."""
        recipe, total = self.cell.recipe, self.last_step
        name = environment(str(self.core.flat.device))["device_name"]
        self.counters.add_devices(self.core.process_group.all_gather_object(name))
        self.counters.cells_per_gpu = max(self.counters.cells_per_gpu, cells_on_gpu())
        per_epoch = recipe.steps_per_epoch(len(self.split))
        epoch, batches = -1, []
        with progress_bar(total, initial=self.core.completed, enabled=self.core.process_group.is_main) as bar:
            while (step := self.core.completed) < total:
                if step // per_epoch != epoch:
                    epoch = step // per_epoch
                    batches = epoch_batches(self.split.lengths, recipe.batch_size, self.cell.seed, epoch)
                self.train_step(batches[step % per_epoch])
                self.stopwatch.tick()
                stopped, due = self._agreed()
                if stopped or due or self.core.completed == total:
                    self.save()
                if stopped:
                    self.flag.check(f"at step {self.core.completed} of {total}")
                bar.update()

    def save(self) -> None:
        """Save a checkpoint from which another loop continues bit for bit. The main process writes it."""
        with self.stopwatch.phase("saving"):
            curve = self.curve.state()
            generator_tensors, generators = random_states(self.core.process_group)
            if not self.core.process_group.is_main:
                return
            core_tensors, core = self.core.state_dict()
            self.counters.peak = self.peak.largest()
            best_tensors, best = self.best.state() if self.best else ({}, {})
            state = {
                "core": core,
                "random": generators,
                "curve": curve,
                "counters": asdict(self.counters),
                "seconds": self.stopwatch.state(),
                "best": best,
            }
            self.checkpoints.save(self.core.completed, {**core_tensors, **generator_tensors, **best_tensors}, state)

    def train_step(self, rows: Sequence[int]) -> None:
        """One optimizer step, what is evaluated after it, and its line of the curve."""
        report = self._optimize(rows)
        self.counters.tokens += sum(self.split.lengths[i] + self.split.target_lengths[i] for i in rows)
        self.counters.rows += len(rows)
        changed, held_out_loss = report.masked, None
        best = self.best if self.best and self.best.due() else None
        if best or self.core.watches:
            with self._evaluating(), self.core.budget_view():
                held_out_loss = self.held_out.loss(self.model)
            if best:
                best.offer(held_out_loss)
            if self.core.watches:
                changed = self.core.validated(held_out_loss) or changed
        if held_out_loss is None:
            held_out_loss = self._held_out_loss_of_epoch()
        ranks = list(self.core.live_ranks().values()) if changed or report.step == 1 else None
        self.curve.add(report, Extras(ranks or None, held_out_loss, self._scores_of_epoch()))

    def _optimize(self, rows: Sequence[int]) -> StepReport:
        """Forward and backward of each micro-batch, and the optimizer step.

        A micro-batch has the weight of its rows or target tokens, whichever its loss is the mean of.
        """
        parts = micro_batches(rows, self.cell.recipe.micro_batches)
        whole = self._weight(rows)
        for part in self.core.process_group.shard(parts):
            loss, _ = task_loss(self.model, self.collate(part), self.cell.task.kind)
            self.core.accumulate(loss, self._weight(part) / whole)
        self.core.accumulate_nothing()  # where a small batch has no part for this process
        report: StepReport = self.core.step()
        return report

    def _agreed(self) -> tuple[bool, bool]:
        """Whether a signal asked any process of the cell to stop, and whether it is time for a checkpoint."""
        answer = (self.flag.name, self.checkpoints.due(self.core.completed))
        answers = self.core.process_group.all_gather_object(answer)
        signal = next((name for name, _ in answers if name), None)
        self.flag.name = self.flag.name or signal
        _, due_in_main_process = answers[0]
        return signal is not None, due_in_main_process

    def _scores_of_epoch(self) -> Scores | None:
        """The evaluation splits' scores where an epoch ended and the recipe asks for them, under the step's budget."""
        if not self.cell.recipe.score_epochs or not self._epoch_ended():
            return None
        with self._evaluating(), self.core.budget_view():
            return self.score()

    def _held_out_loss_of_epoch(self) -> float | None:
        """The held-out loss of what `_scores_of_epoch` scores, and of the last step, whose scores the record holds.

        It only tells which epoch is best, so there is none where the best step is chosen by losses of its own.
        """
        recipe = self.cell.recipe
        if not (recipe.score_epochs and recipe.holdout_rows) or self.best:
            return None
        if not self._epoch_ended() and self.core.completed < self.core.schedule.total_steps:
            return None
        with self._evaluating(), self.core.budget_view():
            return self.held_out.loss(self.model)

    def _epoch_ended(self) -> bool:
        return self.core.completed % self.cell.recipe.steps_per_epoch(len(self.split)) == 0

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Charge the block to evaluation, not to training."""
        device = self.core.flat.device
        if device.type == "cuda":  # kernels that are still queued belong to the training
            torch.cuda.synchronize(device)
        with self.stopwatch.phase("evaluation"):
            yield

    def _weight(self, rows: Sequence[int]) -> int:
        return loss_weight(self.split, rows, self.cell.task.kind)
