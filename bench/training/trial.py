"""One try at a cell: build it, go on where the last try was interrupted, train, evaluate, save, describe."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import peft  # noqa: F401 (imported here so that its seconds count as the libraries', not as the model's)
import torch

from bench.config.cell import Cell
from bench.config.rank_schedule import schedule_of
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.engine.step import Core
from bench.errors import BenchError, TransientError
from bench.evaluation.evaluate import Evaluated, evaluate
from bench.evaluation.loss import task_loss
from bench.evaluation.predictions_file import write_predictions
from bench.files import clear_when_full, digest, folder_in_one_step
from bench.inputs.backbones import check_backbone
from bench.inputs.collate import Batch, Collator
from bench.inputs.datasets import load_tokenizer, open_data
from bench.log import TOLD, ProgressBar, process_age, say
from bench.models.adapters import adapter_hash, attach, plain_ranks, reload_trained, save_trained, weights_file
from bench.models.backbone import find_sites, load_backbone
from bench.models.core import build_core
from bench.models.sites import chosen_sites
from bench.paths import CURVE, PREDICTIONS
from bench.records.schema import (
    BaseBytes,
    Bytes,
    PeakBytes,
    Record,
    Reported,
    Seconds,
    StartUp,
    Status,
    Training,
    Utilization,
)
from bench.training import record_parts as facts
from bench.training.best_step import BestStep
from bench.training.checkpoints import Checkpoint, Checkpoints
from bench.training.curve import Curve, Watch
from bench.training.done import Inputs
from bench.training.holdout import HeldOut, hold_out
from bench.training.loop import Counters, Loop
from bench.training.measure import base_bytes, frozen_parameters, trained_heads
from bench.training.peak import PeakMemory
from bench.training.rng import restore_random_state, seed_apart, seed_everything
from bench.training.signals import StopFlag


class Trial:
    """What one try at `cell` knows; `run` does it all."""

    def __init__(
        self, cell: Cell, inputs: Inputs, out: Path, checkpoints: Checkpoints, attempt: int, flag: StopFlag,
        watch: Watch, process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:  # fmt: skip
        self.ages = [process_age()]  # before the data, before the model, before the first step
        self.cell, self.inputs, self.out = cell, inputs, out
        self.checkpoints, self.flag, self.watch, self.process_group = checkpoints, flag, watch, process_group
        self.weights = out / weights_file(cell.method)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.counters = Counters(attempt=attempt)
        self.peak = PeakMemory(self.device)
        self.core: Core | None = None
        self.best: BestStep | None = None
        self.base: BaseBytes | None = None
        self.use: Utilization | None = None

    def run(self) -> Record:
        """The record `ok`. Raises TransientError at a signal, Diverged, BenchError, and whatever else goes wrong."""
        self._open()
        self._settle()
        model, core, start = self._build()
        collate, held_out = (
            Collator(split, self.cell.task.kind, self.tokenizer.pad_token_id, self.device)
            for split in (self.train, self.held_out)
        )
        batches = facts.batches_of(self.train, self.cell, core.schedule.total_steps)
        if self.device.type == "cpu":
            self._rehearse(model, core, collate(batches.largest.rows))
        curve = self._resume(core)
        self.ages.append(process_age())
        self.flag.check("before the first step")
        loop = Loop(
            self.cell, model, core, self.train, collate, curve, self.checkpoints, self.flag, self.counters,
            HeldOut(
                self.held_out, held_out, self.cell.task, self.cell.recipe.evaluation_batch_size, self.process_group
            ),
            lambda: self._evaluate(model).metrics, self.best,
        )  # fmt: skip
        try:
            loop.run()
        finally:
            curve.close(self.out / CURVE if self.process_group.is_main else None)
        # of the training (an evaluation batch is larger), and of the process that took the most
        predicted = facts.predicted_peak(self.cell, batches.largest, self.device.type)
        peak = max(self.process_group.all_gather_object(self.peak.read(predicted)), key=lambda one: one.peak)
        spent = self.counters.training_seconds
        self.use = facts.utilization_of(self.cell, batches, core.completed, spent, self.device)

        last, beside = self._last_beside_best(model, core)
        clock = time.monotonic()
        self._save_weights(model, core)
        saving = time.monotonic() - clock + self.counters.saving_seconds
        # what is evaluated is what was saved, as plain PEFT computes it
        model = reload_trained(model, self.cell, self.weights.parent, self.inputs.model, self.device)
        clock = time.monotonic()
        evaluated = self._evaluate(model)
        if self.process_group.is_main:
            write_predictions(self.out / PREDICTIONS, self.data.evaluation, evaluated.predictions, evaluated.scores)
        self.process_group.barrier()
        self.watch({"metrics": evaluated.metrics})
        evaluation = time.monotonic() - clock + beside + self.counters.evaluation_seconds
        training = self.counters.training_seconds
        started, loaded, startup = self.ages
        seconds = Seconds(
            startup=startup, training=training, evaluation=evaluation, saving=saving,
            total=startup + training + evaluation + saving,
            parts_of_startup=StartUp(libraries=started, data=loaded - started, model=startup - loaded),
        )  # fmt: skip
        return self._finished(core, start, evaluated, last, seconds, peak, curve.last_loss)

    def failure(self, status: Status, message: str, step: int | None = None) -> Record:
        """A typed record of what is known when a try ended for good."""
        total = process_age()
        seconds = Seconds(
            startup=0.0, training=self.counters.training_seconds, evaluation=self.counters.evaluation_seconds,
            saving=self.counters.saving_seconds, total=total,
        )  # fmt: skip
        return Record(
            **self._common(),
            status=status,
            message=message,
            log_tail=tuple(line for text in TOLD for line in text.splitlines())[-40:],
            training=self._training(seconds, failed_step=step) if self.core else None,
            bytes=Bytes(
                base=self.base, adapter_file=None, gradients=None, optimizer=None, importance=None,
                peak=self.peak.read(),
            ),
        )  # fmt: skip

    def _open(self) -> None:
        check_backbone(self.inputs.model, self.inputs.model_manifest)
        self.data, self.tokenizer = open_data(self.inputs.data), load_tokenizer(self.inputs.model)
        self.train, self.held_out = hold_out(self.data.train, self.cell.recipe.holdout_rows)
        self.ages.append(process_age())

    def _settle(self) -> None:
        """What decides bits beside the spec: threads, deterministic kernels, no TF32."""
        torch.set_num_threads(self.cell.threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, decides nothing here
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def _build(self) -> tuple[Any, Core, facts.Start]:
        """Seeded before anything is made (defect Q5); again before the adapter, the same for every storage; and before
        the first step, so that dropout draws alike whatever the adapter drew."""
        seed_everything(self.cell.seed)
        model = load_backbone(self.cell, self.inputs.model, self.device)
        self.peak = PeakMemory(self.device)
        sites = chosen_sites(find_sites(model, self.cell.backbone), self.cell.method)
        seed_everything(self.cell.seed + 1)
        model = attach(model, self.cell, sites)
        self.base = base_bytes(model)
        known = adapter_hash(model), trained_heads(model, self.cell), frozen_parameters(model)
        shapes = [(site.in_features, site.out_features) for site in sites]
        schedule = schedule_of(self.cell, len(self.data.train), shapes)
        core = self.core = build_core(model, sites, self.cell, schedule, self.process_group)
        self.best = BestStep.of(core, self.cell)
        seed_apart(self.cell.seed + 2, self.process_group)
        ranks = core.live_ranks(), plain_ranks(model, self.cell, sites)
        return model, core, facts.Start(*known, *ranks, core.bytes())

    def _rehearse(self, model: Any, core: Core, batch: Batch) -> None:
        """Forward and backward of the largest batch, for its memory alone; the generators are set after it."""
        with self.peak.measured():
            task_loss(model, batch, self.cell.task.kind)[0].backward()
            core.discard_gradients()

    def _resume(self, core: Core) -> Curve:
        """Bring core, generators and counters to the newest good checkpoint, if there is one; the curve behind it."""
        attempt, fresh = self.counters.attempt, core.state_dict()

        def load(found: Checkpoint) -> None:
            core.load_state_dict(found.tensors, found.state["core"])
            self.counters = Counters(**found.state["counters"])
            restore_random_state(found.tensors, found.state["random"], self.process_group)
            kept.update(found.state["curve"])
            if self.best:
                self.best.load(found.tensors, found.state["best"])

        kept: dict[str, Any] = {}
        step, faults = self.checkpoints.resume(load)
        if step is None:
            kept.clear()
            core.load_state_dict(*fresh)
            self.best = BestStep.of(core, self.cell)
            self.counters = Counters(restarted=bool(faults))
            seed_apart(self.cell.seed + 2, self.process_group)
        else:
            self.counters.attempt += 1
            self.counters.resumed_at.append(step)
            if self.process_group.is_main:
                say(f"{self.cell.id}: goes on at step {step}")
        self.counters.attempt = max(attempt, self.counters.attempt)
        self.counters.discarded += faults
        if len(set(self.process_group.all_gather_object(step))) > 1:
            raise TransientError("the processes of the cell do not see the same checkpoints")
        kept.pop("sha256", None)
        if not self.process_group.is_main:  # its curve is the leader's, and is thrown away
            kept["length"] = 0
        sites = [site.name for site in core.flat.layout.sites]
        self.watch({"config": self.cell.model_dump(mode="json"), "sites": sites})
        return Curve(self.checkpoints.curve_of(self.process_group.rank), **kept, watch=self.watch)

    def _evaluate(self, model: Any) -> Evaluated:
        bars = {
            name: ProgressBar(f"{self.cell.id} {name}", len(split), shown=self.process_group.is_main)
            for name, split in self.data.evaluation.items()
        }

        def check(split: str, done: int) -> None:
            self.flag.check(f"while {split} was evaluated")
            bars[split].show(done)

        task, size, splits = self.cell.task, self.cell.recipe.evaluation_batch_size, self.data.evaluation
        return evaluate(model, task, splits, self.tokenizer, size, self.device, check, self.process_group)

    def _last_beside_best(self, model: Any, core: Core) -> tuple[Evaluated | None, float]:
        """Where the best step is reported: the scores of the last one and the seconds they took; the model is then
        that of the best."""
        if self.best is None:
            return None, 0.0
        clock = time.monotonic()
        with core.budget_view():
            last = self._evaluate(model)
        self.best.restore()
        return last, time.monotonic() - clock

    def _save_weights(self, model: Any, core: Core) -> None:
        """What was trained under its budget, whole or not at all. Raises TransientError where the disk is full."""
        full, folder = clear_when_full(self.out, core.flat.elements * 4), folder_in_one_step(self.weights.parent)
        if self.process_group.is_main:
            with core.budget_view(), full, folder as new:
                save_trained(model, self.cell.method, new, core.masks())
        self.process_group.barrier()

    def _finished(
        self, core: Core, start: facts.Start, evaluated: Evaluated, last: Evaluated | None, seconds: Seconds,
        peak: PeakBytes, last_loss: float | None,
    ) -> Record:  # fmt: skip
        """The record `ok`. Raises BenchError where the budget was not kept."""
        use = facts.budget_use(core, self.cell, start.plain_ranks)
        held = {name: max(count, core.bytes()[name]) for name, count in start.bytes.items()}  # ranks shrink, or grow
        if use.used > use.limit:
            raise BenchError(f"{self.cell.id}: {use.used} {use.unit} kept, the budget is {use.limit}")
        split, metric = self.cell.task.primary_split, self.cell.task.metric
        return Record(
            **self._common(),
            status="ok",
            reported=Reported(split=split, metric=metric, value=evaluated.metrics[split][metric]),
            metrics={
                name: {self.cell.selection: values, **({"last": last.metrics[name]} if last else {})}
                for name, values in evaluated.metrics.items()
            },
            loss=evaluated.loss,
            training=self._training(seconds, final_loss=last_loss),
            parameters=facts.parameters_of(core, start.ranks, start.heads, start.frozen, use),
            ranks=facts.ranks_of(core, start.ranks),
            bytes=Bytes(
                base=self.base, adapter_file=self.weights.stat().st_size, gradients=held["gradients"],
                optimizer=held["optimizer"], importance=held["importance"], peak=peak,
            ),
            evaluation={"batch_size": evaluated.batch_size, "halvings": evaluated.halvings},
            initial_adapter_sha256=start.adapter_sha256,
            files={
                name: digest(self.out / name) for name in (CURVE, PREDICTIONS, weights_file(self.cell.method))
            },
        )  # fmt: skip

    def _training(self, seconds: Seconds, failed_step: int | None = None, final_loss: float | None = None) -> Training:
        assert self.core is not None  # a training without a core has nothing to tell
        selected = self.best.step if self.best else None
        return facts.training_of(self.core, self.counters, seconds, self.use, selected, failed_step, final_loss)

    def _common(self) -> dict[str, Any]:
        rows = self.inputs.data_manifest
        return {
            **facts.machine_of(self.device, self.cell),
            "cell": facts.cell_key(self.cell, self.inputs.identity),
            "spec": self.cell.model_dump(mode="json"),
            "selection": self.cell.selection,
            "data": {key: rows[key] for key in ("fingerprint", "synthetic", "revision", "files", "hub")},
            "model": self.inputs.model_manifest,
        }
