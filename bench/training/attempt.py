"""One attempt at a cell: prepare its inputs, build the model, train it, save it, evaluate it, describe all of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import peft  # noqa: F401 (imported here so that its seconds count as the libraries', not as the model's)
import torch

from bench.config.cell import Cell
from bench.config.rank_schedule import schedule_of
from bench.device import make_deterministic
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.engine.step import Core
from bench.errors import TransientError
from bench.evaluation.evaluate import Evaluated
from bench.evaluation.predictions_file import write_predictions
from bench.files import clear_when_full, folder_in_one_step
from bench.inputs.backbones import check_backbone
from bench.log import recent_lines
from bench.models.adapters import adapter_hash, plain_ranks, reload_trained, save_trained, weights_file
from bench.models.backbone import find_sites, load_backbone
from bench.models.core import build_core
from bench.models.sites import chosen_sites
from bench.paths import CellPaths
from bench.records.schema import BaseBytes, PeakBytes, Record, Seconds, Status, Training, Utilization
from bench.training import record_parts
from bench.training.batches import FirstEpoch
from bench.training.best_step import BestStep
from bench.training.checkpoints import Checkpoint, Checkpoints
from bench.training.curve import Curve, Watch, unwatched
from bench.training.done import Inputs
from bench.training.evaluation import evaluate_rows
from bench.training.failed import failed_record
from bench.training.first_values import Place, attach_seeded
from bench.training.holdout import HeldOut, Rows
from bench.training.loop import Counters, Loop
from bench.training.measure import PeakMemory, base_bytes, frozen_parameters, trained_heads
from bench.training.rehearsal import rehearse
from bench.training.rng import restore_random_state, seed_apart, seed_everything
from bench.training.signals import StopFlag
from bench.training.stopwatch import Stopwatch

logger = logging.getLogger(__name__)


@dataclass
class Attempt:
    """One attempt at `cell`. `run` goes through its phases. What the record of a failure needs is kept in fields.

    `rung`: the rung of successive halving, from 1, at which the training ends; None: the end of its schedule.
    """

    cell: Cell
    inputs: Inputs
    out: Path
    checkpoints: Checkpoints
    flag: StopFlag
    device: torch.device
    watch: Watch = unwatched
    process_group: ProcessGroup = SINGLE_PROCESS
    attempt: int = 1
    rung: int | None = None
    stopwatch: Stopwatch = field(default_factory=Stopwatch, init=False)
    counters: Counters = field(init=False)
    peak: PeakMemory = field(init=False)
    core: Core | None = field(default=None, init=False)
    best: BestStep | None = field(default=None, init=False)
    base: BaseBytes | None = field(default=None, init=False)
    utilization: Utilization | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.stopwatch.end_startup_part("libraries")
        self.counters = Counters(attempt=self.attempt)
        self.peak = PeakMemory(self.device)

    def run(self) -> Record:
        """The record of the completed cell. Raises TransientError at a signal, Diverged, and whatever goes wrong."""
        rows = self._prepare_inputs()
        self.stopwatch.measure_energy(self.cell, self.device, self.process_group)
        model, core, start = self._build(rows)
        first_epoch = record_parts.batches_of(rows.train, self.cell, core.schedule.total_steps)
        collate = rows.collator(rows.train, self.cell.task.kind, self.device)
        rehearse(self.peak, model, core, collate, first_epoch.largest)
        curve = self._resume(core)
        self.stopwatch.end_startup_part("model")
        self.flag.check("before the first step")
        peak = self._train(rows, model, core, curve, first_epoch)
        last = self._evaluate_before_best(rows, model, core)
        self._save(model, core)
        evaluated = self._evaluate_saved(rows, model)
        return record_parts.completed_record(
            common=record_parts.common_parts(self.cell, self.inputs, self.device),
            cell=self.cell,
            core=core,
            start=start,
            evaluated=evaluated,
            last=last,
            training=self._training(core, self.stopwatch.completed(), final_loss=curve.last_loss),
            base=self.base,
            peak=peak,
            out=self.out,
            weights=self._weights,
        )

    def failure(self, status: Status, message: str, step: int | None = None) -> Record:
        """The record of an attempt that failed for good, with what is known by then and what the device still tells."""
        core, seconds = self.core, self.stopwatch.failed()
        return failed_record(
            common=record_parts.common_parts(self.cell, self.inputs, self.device),
            status=status,
            message=message,
            log_tail=recent_lines(),
            training=None if core is None else lambda: self._training(core, seconds, failed_step=step),
            base=self.base,
            peak=self.peak.read,
            device=self.device,
        )

    def _prepare_inputs(self) -> Rows:
        check_backbone(self.inputs.model, self.inputs.model_manifest)
        rows = Rows.read(self.inputs.data, self.inputs.model, self.cell)
        self.stopwatch.end_startup_part("data")
        return rows

    def _build(self, rows: Rows) -> tuple[Any, Core, record_parts.Start]:
        """The model with its adapter, the training core, and what the record says of the start.

        The generators are seeded before anything is made (defect Q5); again before the adapter, so that it is the same
        for every storage of the base; and before the first step, so that dropout is the same for every adapter.
        """
        make_deterministic(self.cell.threads)
        seed_everything(self.cell.seed)
        model = load_backbone(self.cell, self.inputs.model, self.device)
        self.peak = PeakMemory(self.device)
        sites = chosen_sites(find_sites(model, self.cell.backbone), self.cell.method)
        shapes = [(site.in_features, site.out_features) for site in sites]
        schedule = schedule_of(self.cell, len(rows.train) + self.cell.recipe.holdout_rows, shapes)
        model, ranks = attach_seeded(model, Place(self.cell, rows, sites, schedule, self.device, self.process_group))
        self.base = base_bytes(model)
        initial_hash, frozen = adapter_hash(model), frozen_parameters(model)
        heads = trained_heads(model, self.cell)
        core = self.core = build_core(model, sites, self.cell, schedule, self.process_group, ranks)
        self.best = BestStep.of(core, self.cell)
        seed_apart(self.cell.seed + 2, self.process_group)
        start = record_parts.Start(
            adapter_sha256=initial_hash,
            heads=heads,
            frozen=frozen,
            ranks=core.live_ranks(),
            plain_ranks=plain_ranks(model, self.cell, sites),
            bytes=core.bytes(),
        )
        return model, core, start

    def _resume(self, core: Core) -> Curve:
        """Load the newest intact checkpoint; return the curve up to it. Raises TransientError if processes differ."""
        untrained = core.state_dict()
        checkpoint, faults = self.checkpoints.resume(partial(self._load, core))
        if checkpoint is None:
            # A checkpoint that failed while it was being loaded may have changed some of the state.
            core.load_state_dict(*untrained)
            self.best = BestStep.of(core, self.cell)
            self.counters = Counters(attempt=self.attempt, restarted=bool(faults))
            self.stopwatch.reset()
            seed_apart(self.cell.seed + 2, self.process_group)
        else:
            self.counters.attempt = max(self.attempt, self.counters.attempt + 1)
            self.counters.resumed_at.append(checkpoint.step)
            self.peak.earlier = dict(self.counters.peak)
            if self.process_group.is_main:
                logger.info("goes on at step %d", checkpoint.step)
        self.counters.discarded += faults
        steps = self.process_group.all_gather_object(None if checkpoint is None else checkpoint.step)
        if len(set(steps)) > 1:
            raise TransientError("the processes of the cell do not see the same checkpoints")
        self.watch({"config": self.cell.model_dump(mode="json"), "sites": list(core.live_ranks())})
        curve = {} if checkpoint is None else checkpoint.state["curve"]
        return Curve(
            self.checkpoints.curve_of(self.process_group.rank),
            # The checkpoint is of the main process's curve; that of another process is thrown away.
            length=curve.get("length", 0) if self.process_group.is_main else 0,
            last_loss=curve.get("last_loss"),
            skipped_in_row=curve.get("skipped_in_row", 0),
            watch=self.watch,
            total_steps=core.schedule.total_steps,
        )

    def _load(self, core: Core, checkpoint: Checkpoint) -> None:
        if checkpoint.step > self._last_step(core):
            raise ValueError(f"it is beyond rung {self.rung}, which is not scored yet")
        core.load_state_dict(checkpoint.tensors, checkpoint.state["core"])
        self.counters = Counters(**checkpoint.state["counters"])
        self.stopwatch.load(checkpoint.state["seconds"])
        restore_random_state(checkpoint.tensors, checkpoint.state["random"], self.process_group)
        if self.best:
            self.best.load(checkpoint.tensors, checkpoint.state["best"])

    def _train(self, rows: Rows, model: Any, core: Core, curve: Curve, first_epoch: FirstEpoch) -> PeakBytes:
        """Make all remaining steps. Returns the peak memory of the process that used the most."""
        loop = Loop(
            cell=self.cell,
            model=model,
            core=core,
            split=rows.train,
            collate=rows.collator(rows.train, self.cell.task.kind, self.device),
            curve=curve,
            checkpoints=self.checkpoints,
            flag=self.flag,
            counters=self.counters,
            peak=self.peak,
            stopwatch=self.stopwatch,
            held_out=HeldOut(
                split=rows.held_out,
                collate=rows.collator(rows.held_out, self.cell.task.kind, self.device),
                task=self.cell.task,
                batch_size=self.cell.recipe.evaluation_batch_size,
                process_group=self.process_group,
            ),
            score=lambda: self._evaluate(rows, model).metrics,
            best=self.best,
            last_step=self._last_step(core),
        )
        try:
            with self.stopwatch.phase("training"):
                loop.run()
        finally:
            curve.close(CellPaths(self.out).curve if self.process_group.is_main else None)
        # Read before anything is evaluated: an evaluation batch is larger.
        predicted = record_parts.predicted_peak(self.cell, first_epoch.largest, self.device.type)
        peaks = self.process_group.all_gather_object(self.peak.read(predicted))
        self.utilization = record_parts.utilization_of(
            self.cell, first_epoch, core.completed, self.stopwatch.seconds("training"), self.device
        )
        return max(peaks, key=lambda peak: peak.peak)

    def _evaluate_before_best(self, rows: Rows, model: Any, core: Core) -> Evaluated | None:
        """If the best step is reported: score the last one, then give the model the parameters of the best."""
        if self.best is None:
            return None
        with self.stopwatch.phase("evaluation"):
            with core.budget_view():
                last = self._evaluate(rows, model)
            self.best.restore()
        return last

    def _save(self, model: Any, core: Core) -> None:
        """Save what was trained, under its budget, whole or not at all. Raises TransientError if the disk is full."""
        with self.stopwatch.phase("saving"):
            if self.process_group.is_main:
                with (
                    core.budget_view(),
                    clear_when_full(self.out, core.flat.elements * 4),
                    folder_in_one_step(self._weights.parent) as folder,
                ):
                    save_trained(model, self.cell.method, folder, core.masks())
            self.process_group.barrier()

    def _evaluate_saved(self, rows: Rows, model: Any) -> Evaluated:
        """The scores of what was saved, as plain PEFT computes them, and its predictions in a file."""
        model = reload_trained(model, self.cell, self._weights.parent, self.inputs.model, self.device)
        with self.stopwatch.phase("evaluation"):
            evaluated = self._evaluate(rows, model)
            if self.process_group.is_main:
                file = CellPaths(self.out).predictions
                write_predictions(file, rows.evaluation, evaluated.predictions, evaluated.scores, evaluated.details)
            self.process_group.barrier()
            self.watch({"metrics": evaluated.metrics})
        return evaluated

    def _evaluate(self, rows: Rows, model: Any) -> Evaluated:
        return evaluate_rows(model, self.cell, rows, self.device, self.flag, self.process_group, self.stopwatch)

    def _last_step(self, core: Core) -> int:
        """The step after which this attempt ends the training."""
        total, halving = core.schedule.total_steps, self.cell.trial.halving if self.cell.trial else None
        return total if self.rung is None or halving is None else halving.last_step(self.rung, total)

    @property
    def _weights(self) -> Path:
        """The file of what was trained. That of a trial is evaluated like any other, and goes with its checkpoints."""
        return (self.checkpoints.folder if self.cell.trial else self.out) / weights_file(self.cell.method)

    def _training(
        self, core: Core, seconds: Seconds, *, failed_step: int | None = None, final_loss: float | None = None
    ) -> Training:
        return record_parts.training_of(
            core=core,
            counters=self.counters,
            seconds=seconds,
            energy=self.stopwatch.energy.measured(),
            utilization=self.utilization,
            selected_step=self.best.step if self.best else None,
            failed_step=failed_step,
            final_loss=final_loss,
        )
