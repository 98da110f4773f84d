"""One cell from its prepared files to its record."""

from __future__ import annotations

import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.accounting.measure import base_bytes, frozen_parameters, head_parameters
from bench.accounting.peak import PeakMemory
from bench.errors import BenchError, TransientError
from bench.evaluation.metrics import rouge_rows, score
from bench.evaluation.predict import as_classes, predict
from bench.evaluation.table import write_predictions
from bench.models.adapters import adapter_hash, attach, save_adapter
from bench.models.backbone import find_sites, load_backbone
from bench.models.batch import Collator
from bench.prepare.data import PreparedData, load_tokenizer, open_data, read_manifest
from bench.prepare.models import open_backbone
from bench.prepare.places import backbone_folder, data_folder
from bench.records.io import NAME, read_record, write_record
from bench.records.provenance import environment
from bench.records.schema import Bytes, Record, Reported, Seconds, Training
from bench.spec.cell import Cell
from bench.spec.schedule import schedule_of
from bench.training.checkpoints import Checkpoints
from bench.training.core import Core
from bench.training.curve import Curve, Diverged
from bench.training.facts import budget_use, cell_key, parameters_of, ranks_of
from bench.training.loop import Loop, Progress
from bench.training.signals import stop_flag

STARTED = time.monotonic()


def train_cell(
    cell: Cell, *, out: Path, cache: Path, mirror: Path | None = None, attempt: int = 1, attempts: int = 1,
    checkpoint_steps: int | None = None,
) -> int:  # fmt: skip
    """Train, evaluate and record `cell` in `out`; 0 once a record stands there. Prepares nothing, uses no network.

    Out of memory and a diverged loss become typed records; any other fault raises (TransientError: try again), and at
    the last of `attempts` becomes a record `failed`.
    """
    data = data_folder(cell.task, cell.backbone, cell.data, mirror, cache)
    model = backbone_folder(cell.backbone, mirror, cache)
    open_backbone(model, cell.backbone)
    identity = cell.identity(str(read_manifest(data)["fingerprint"]))
    if _recorded(out, identity):
        return 0
    checkpoints = Checkpoints(cache / "checkpoints" / identity)
    run = CellRun(cell, open_data(data), model, out, checkpoints, identity, attempt, checkpoint_steps)
    try:
        record = run.run()
    except BenchError:
        raise
    except torch.OutOfMemoryError as error:
        record = run.failure("oom", f"out of memory: {error}")
    except Diverged as error:
        record = run.failure("diverged", str(error))
    except Exception as error:
        traceback.print_exc()
        if attempt < attempts:
            raise TransientError(f"{type(error).__name__}: {error} (attempt {attempt} of {attempts})") from error
        record = run.failure("failed", f"{type(error).__name__}: {error}")
    write_record(record, out)
    checkpoints.remove()
    return 0


def _recorded(out: Path, identity: str) -> bool:
    """Whether a record of the same cell stands there; one of another cell, or damaged, is written anew."""
    try:
        return read_record(out / NAME).cell.hash == identity
    except BenchError:
        return False


class CellRun:
    """What one try at a cell knows."""

    def __init__(
        self, cell: Cell, data: PreparedData, folder: Path, out: Path, checkpoints: Checkpoints, identity: str,
        attempt: int, checkpoint_steps: int | None,
    ) -> None:  # fmt: skip
        self.cell, self.data, self.folder, self.out = cell, data, folder, out
        self.checkpoints, self.identity, self.attempt = checkpoints, identity, attempt
        self.checkpoint_steps = checkpoint_steps
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def run(self) -> Record:
        cell, task = self.cell, self.cell.task
        torch.set_num_threads(cell.threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        peft_model, sites = self._model()
        initial = adapter_hash(peft_model)
        base, heads, frozen = base_bytes(peft_model), head_parameters(peft_model), frozen_parameters(peft_model)
        shapes = [(site.in_features, site.out_features) for site in sites]
        core = Core(peft_model, sites, cell, schedule_of(cell, len(self.data.train), shapes))
        start = core.live_ranks()
        peak = PeakMemory(self.device)
        tokenizer = load_tokenizer(self.folder)
        collate = Collator(self.data.train, task.kind, tokenizer.pad_token_id, self.device)
        torch.manual_seed(cell.seed + 2)  # of dropout, from the first step on
        progress, offset = self._resume(core)
        self.out.mkdir(parents=True, exist_ok=True)
        curve = Curve(self.out / "curve.jsonl", offset)
        startup = time.monotonic() - STARTED
        with stop_flag() as flag:
            loop = Loop(
                cell, peft_model, core, self.data.train, collate, curve, self.checkpoints, flag, progress,
                self.checkpoint_steps,
            )  # fmt: skip
            try:
                loop.run()
            finally:
                curve.close()
        held = core.bytes()
        clock = time.monotonic()
        with core.budget_view():
            metrics, evaluation = self._evaluate(peft_model, tokenizer)
            evaluated = time.monotonic()
            folder = self.out / "adapter"
            shutil.rmtree(folder, ignore_errors=True)
            save_adapter(peft_model, folder, core.masks() if cell.method.adapter == "adalora" else None)
        now = time.monotonic()
        use = budget_use(core)
        if use.kept > use.limit:
            raise BenchError(f"{cell.id}: {use.kept} {use.unit} kept, the budget is {use.limit}")
        first = task.primary_split
        return Record(
            **self._common(),
            status="ok",
            reported=Reported(split=first, metric=task.metric, value=metrics[first]["last"][task.metric]),
            metrics=metrics,
            training=Training(
                steps=core.completed, skipped_steps=core.skipped_steps(), rows=progress.rows, tokens=progress.tokens,
                seconds=Seconds(
                    startup=startup, training=progress.seconds, evaluation=evaluated - clock,
                    saving=now - evaluated, total=now - STARTED,
                ),
                attempt=self.attempt, resumed_at=tuple(progress.resumed_at), final_loss=curve.last_loss,
            ),
            parameters=parameters_of(core, start, heads, frozen, use),
            ranks=ranks_of(core, start),
            bytes=Bytes(
                base=base, adapter_file=(folder / "adapter_model.safetensors").stat().st_size,
                gradients=held["gradients"], optimizer=held["optimizer"],
                importance=held["importance"], peak=peak.read(),
            ),
            evaluation=evaluation,
            initial_adapter_sha256=initial,
        )  # fmt: skip

    def failure(self, status: Any, message: str) -> Record:
        return Record(**self._common(), status=status, message=message)

    def _model(self) -> tuple[Any, Any]:
        """Seeded before anything is made (defect Q5); once more, so that every storage gets the same adapter."""
        torch.manual_seed(self.cell.seed)
        model = load_backbone(self.cell, self.folder, self.device)
        sites = find_sites(model, self.cell.backbone)
        torch.manual_seed(self.cell.seed + 1)
        return attach(model, self.cell, sites), sites

    def _resume(self, core: Core) -> tuple[Progress, int]:
        found, bad = self.checkpoints.newest()
        if found is None:
            return Progress(resumed_at=[0] if bad else []), 0
        tensors = dict(found.tensors)
        rng = tensors.pop("rng.cpu")
        cuda = tensors.pop("rng.cuda", None)
        core.load_state_dict(tensors, found.state["core"])
        torch.set_rng_state(rng)
        if cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(cuda)
        progress = Progress(**found.state["progress"])
        progress.resumed_at.append(found.step)
        print(f"goes on at step {found.step}", file=sys.stderr, flush=True)
        return progress, int(found.state["curve"])

    def _evaluate(self, model: Any, tokenizer: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        task = self.cell.task
        metrics, predictions, scores = {}, {}, {}
        size = self.cell.recipe.evaluation_batch_size
        for name, split in self.data.evaluation.items():
            found = predict(model, task, split, tokenizer, size, self.device)
            size = found.batch_size
            predictions[name] = found.values
            if task.kind == "text-label":
                values: list[Any] = as_classes(task, found.values)
                references: list[Any] = as_classes(task, split.targets)
            else:
                values, references = found.values, split.targets
            metrics[name] = {"last": score(task, values, references)}
            if task.kind == "summarization":
                scores[name] = [row[task.metric] for row in rouge_rows(found.values, split.targets)]
        write_predictions(self.out / "predictions.parquet", self.data.evaluation, predictions, scores)
        return metrics, {"batch_size": size}

    def _common(self) -> dict[str, Any]:
        manifest = self.data.manifest
        describe: Callable[..., dict[str, Any]] = environment
        return {
            "cell": cell_key(self.cell, self.identity),
            "spec": self.cell.model_dump(mode="json"),
            "selection": self.cell.selection,
            "environment": {**describe(str(self.device)), "threads": self.cell.threads},
            "data": {key: manifest[key] for key in ("fingerprint", "synthetic", "revision", "files", "hub")},
            "model": open_backbone(self.folder, self.cell.backbone),
        }
