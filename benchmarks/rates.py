"""Training and evaluation of one cell, ours and the peer's, on the same rows in one process, taking turns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import peer
import pyarrow
import pyarrow.parquet
import torch

from bench.evaluation.evaluate import evaluate
from bench.models.adapters import attach, reload_adapter, save_adapter
from bench.models.backbone import find_sites, load_backbone
from bench.models.batch import Collator
from bench.prepare.data import load_tokenizer, open_data, prepare_task
from bench.prepare.models import prepare_backbone
from bench.prepare.sources import read_source
from bench.spec.cell import Cell
from bench.spec.resolve import load_study
from bench.spec.schedule import schedule_of
from bench.training.batches import epoch_batches
from bench.training.checkpoints import Checkpoints
from bench.training.core import Core
from bench.training.curve import Curve
from bench.training.loop import Counters, Loop
from bench.training.rng import seed_everything
from bench.training.signals import StopFlag

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Place:
    """Where a cell's files are: prepared data and model (`cache`, from `mirror`), the same rows as parquet (`rows`)."""

    mirror: Path
    folder: Path

    @property
    def cache(self) -> Path:
        return self.folder / "results" / "cache"

    def cell(self, task: str, method: str, settings: Sequence[str]) -> Cell:
        study = load_study("mirror", list(settings))
        return study.find(task, method, "small", 0)

    def prepare(self, cell: Cell) -> tuple[Path, Path]:
        """Folders of our tokenised rows and of the model."""
        model = prepare_backbone(cell.backbone, mirror=self.mirror, cache=self.cache)
        return prepare_task(cell.task, cell.backbone, cell.data, mirror=self.mirror, cache=self.cache), model

    def rows(self, cell: Cell) -> Path:
        """The very rows of the cell as the peer reads them: train.parquet and validation.parquet."""
        folder = self.folder / f"rows-{cell.task.name}"
        folder.mkdir(parents=True, exist_ok=True)
        source = read_source(cell.task, cell.data, self.mirror)
        columns = cell.task.data.columns
        for name, split in (("train", "train"), (cell.task.primary_split, "validation")):
            rows = source.splits[name]
            texts = {column: [row[i] for row in rows.texts] for i, column in enumerate(columns.text)}
            pyarrow.parquet.write_table(
                pyarrow.table({**texts, columns.target: rows.targets}), folder / f"{split}.parquet"
            )
        return folder


class Ours:
    """Our loop on `cell`; a block is one epoch."""

    def __init__(self, cell: Cell, place: Place) -> None:
        torch.set_num_threads(1)
        data, folder = place.prepare(cell)
        self.cell, self.place, self.data, self.epoch = cell, place, open_data(data), 0
        seed_everything(cell.seed)
        model = load_backbone(cell, folder, CPU)
        sites = find_sites(model, cell.backbone)
        self.model = attach(model, cell, sites)
        shapes = [(site.in_features, site.out_features) for site in sites]
        self.core = Core(self.model, sites, cell, schedule_of(cell, len(self.data.train), shapes))
        self.tokenizer = load_tokenizer(folder)
        collate = Collator(self.data.train, cell.task.kind, self.tokenizer.pad_token_id, CPU)
        scratch = place.folder / "ours"
        self.loop = Loop(
            cell, self.model, self.core, self.data.train, collate, Curve(scratch / "curve.jsonl"),
            Checkpoints(scratch / "checkpoints", {}), StopFlag(), Counters(),
        )  # fmt: skip

    def train(self) -> float:
        """Seconds of one epoch."""
        lengths = [len(ids) for ids in self.data.train.input_ids]
        began = time.perf_counter()
        for rows in epoch_batches(lengths, self.cell.recipe.batch_size, self.cell.seed, self.epoch):
            self.loop.train_step(rows)
        self.loop.curve.flush()
        self.epoch += 1
        return time.perf_counter() - began

    @cached_property
    def saved(self) -> Any:
        """The model that a cell evaluates: the base with the saved adapter, as plain PEFT loads it."""
        folder = self.place.folder / "adapter"
        with self.core.budget_view():
            save_adapter(self.model, folder, self.core.masks() if self.cell.method.adapter == "adalora" else None)
        return reload_adapter(self.model, folder)

    def evaluate(self) -> tuple[float, dict[str, float | None]]:
        """Seconds and metrics of the table's split."""
        split = self.cell.task.primary_split
        size = self.cell.recipe.evaluation_batch_size
        began = time.perf_counter()
        found = evaluate(self.saved, self.cell.task, {split: self.data.evaluation[split]}, self.tokenizer, size, CPU)
        return time.perf_counter() - began, found.metrics[split]


class Peer:
    """The Trainer on the same rows; a block is one epoch."""

    def __init__(self, cell: Cell, place: Place, blocks: int) -> None:
        _, folder = place.prepare(cell)
        self.tokenizer = load_tokenizer(folder)
        self.data = peer.tokenised(place.rows(cell), self.tokenizer, cell)
        steps = blocks * cell.recipe.steps_per_epoch(len(self.data["train"]))
        model = peer.model_of(cell, folder, steps)
        self.clock = peer.Clock()
        self.out = place.folder / "peer"
        self.trainer = peer.trainer_of(cell, model, self.data, self.tokenizer, self.out, steps, 1)
        self.trainer.add_callback(self.clock)
        self.cell = cell

    def train(self) -> float:
        before = self.clock.seconds
        self.trainer.train()
        return self.clock.seconds - before

    def evaluate(self, model: Any) -> tuple[float, dict[str, float]]:
        """Seconds and metrics of `model`, which may be ours: then both evaluate the same weights."""
        trainer = peer.trainer_of(self.cell, model, self.data, self.tokenizer, self.out, 1, 1)
        trainer.model.eval()
        began = time.perf_counter()
        metrics = trainer.evaluate()
        return time.perf_counter() - began, metrics
