"""The one loop: from the first batch to the last step of the schedule, with a checkpoint when one is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from bench.config.cell import Cell
from bench.engine.step import Core
from bench.evaluation.loss import task_loss
from bench.inputs.collate import Collator
from bench.inputs.datasets import Split
from bench.log import ProgressBar
from bench.training.batches import epoch_batches, micro_batches
from bench.training.best_step import BestStep
from bench.training.checkpoints import Checkpoints
from bench.training.curve import Curve, Extras
from bench.training.holdout import HeldOut
from bench.training.rng import random_states
from bench.training.signals import StopFlag

Scores = Mapping[str, Mapping[str, float | None]]


@dataclass
class Counters:
    """What is counted on the way, kept over interruptions; what an interruption lost is not in it."""

    tokens: int = 0
    rows: int = 0
    attempt: int = 1
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0  # between the steps
    saving_seconds: float = 0.0
    resumed_at: list[int] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    restarted: bool = False


@dataclass
class Loop:
    """Trains the model of `core` on `split`."""

    cell: Cell
    model: Any
    core: Core
    split: Split
    collate: Collator
    curve: Curve
    checkpoints: Checkpoints
    flag: StopFlag
    counters: Counters
    held_out: HeldOut
    score: Callable[[], Scores]
    best: BestStep | None = None
    _clock: float = field(default_factory=time.monotonic, init=False)

    def run(self) -> None:
        """Raises TransientError when a signal asked to stop (saved), Diverged when a loss was not finite."""
        recipe, total = self.cell.recipe, self.core.schedule.total_steps
        per_epoch = recipe.steps_per_epoch(len(self.split))
        lengths = [len(ids) for ids in self.split.input_ids]
        bar = ProgressBar(self.cell.id, total, shown=self.core.process_group.is_main)
        self._passed()
        epoch, batches = -1, []
        while (step := self.core.completed) < total:
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                batches = epoch_batches(lengths, recipe.batch_size, self.cell.seed, epoch)
            self.train_step(batches[step % per_epoch])
            self.counters.training_seconds += self._passed()
            stopped, due = self._agreed()
            if stopped or due or self.core.completed == total:
                self.save()
                self._passed()
            if stopped:
                self.flag.check(f"at step {self.core.completed} of {total}")
            bar.show(self.core.completed)
        bar.close()

    def save(self) -> None:
        """A checkpoint from which another loop goes on bit for bit; the main process writes it."""
        began = time.monotonic()
        curve = self.curve.state()
        generators, plain = random_states(self.core.process_group)
        if self.core.process_group.is_main:
            tensors, core = self.core.state_dict()
            kept, best = self.best.state() if self.best else ({}, {})
            state = {"core": core, "random": plain, "curve": curve, "counters": asdict(self.counters), "best": best}
            self.checkpoints.save(self.core.completed, {**tensors, **generators, **kept}, state)
        self.counters.saving_seconds += time.monotonic() - began

    def train_step(self, rows: Sequence[int]) -> None:
        """One optimizer step. A micro-batch weighs by what its loss is the mean of: rows, or target tokens."""
        parts = micro_batches(rows, self.cell.recipe.micro_batches)
        whole = self._weight(rows)
        for part in self.core.process_group.shard(parts):
            loss, _ = task_loss(self.model, self.collate(part), self.cell.task.kind)
            self.core.accumulate(loss, self._weight(part) / whole)
        self.core.accumulate_nothing()  # where a small batch has no part for this process
        self.counters.tokens += sum(len(self.split.input_ids[i]) + len(self.split.label_ids[i]) for i in rows)
        self.counters.rows += len(rows)
        report = self.core.step()
        changed, held_out = report.masked, None
        best = self.best if self.best and self.best.due() else None
        if best or self.core.watches:
            with self._evaluating():
                held_out = self.held_out.loss(self.model)
            if best:
                best.offer(held_out)
            if self.core.watches:
                changed = self.core.validated(held_out) or changed
        ranks = list(self.core.live_ranks().values()) if changed or report.step == 1 else []
        self.curve.add(report, Extras(ranks or None, held_out, self._scores_of_epoch()))

    def _agreed(self) -> tuple[bool, bool]:
        """Whether a signal asked any process of the cell to stop, and whether it is time for a checkpoint."""
        told = self.core.process_group.all_gather_object((self.flag.name, self.checkpoints.due(self.core.completed)))
        signal = next((name for name, _ in told if name), None)
        self.flag.name = self.flag.name or signal
        return signal is not None, told[0][1]

    def _scores_of_epoch(self) -> Scores | None:
        """The evaluation splits' scores where an epoch ended and the recipe asks for them, under the step's budget."""
        per_epoch = self.cell.recipe.steps_per_epoch(len(self.split))
        if not self.cell.recipe.score_epochs or self.core.completed % per_epoch:
            return None
        with self._evaluating(), self.core.budget_view():
            return self.score()

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Around what is evaluated between the steps: its seconds are not the training's."""
        device = self.core.flat.device
        if device.type == "cuda":  # what the last steps left to it is training
            torch.cuda.synchronize(device)
        self.counters.training_seconds += self._passed()
        yield
        self.counters.evaluation_seconds += self._passed()

    def _weight(self, rows: Sequence[int]) -> int:
        return sum(len(self.split.label_ids[i]) for i in rows) if self.cell.task.generates else len(rows)

    def _passed(self) -> float:
        """Seconds since the last call."""
        before, self._clock = self._clock, time.monotonic()
        return self._clock - before
