"""Models to check with, built as a training builds them: the shapes of real cells, random weights, random tokens.

Nothing is downloaded and no row is read. The weights are saved once, because loading them is part of what is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.config.cell import Cell
from bench.config.rank_schedule import schedule_of
from bench.config.resolve import load_study
from bench.device import make_deterministic
from bench.engine.report import StepReport
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.estimate.tracing import BatchShape
from bench.evaluation.evaluate import release_memory
from bench.evaluation.loss import task_loss
from bench.files import folder_in_one_step
from bench.inputs.collate import Batch
from bench.models.adapters import attach
from bench.models.backbone import find_sites, load_backbone
from bench.models.core import build_core
from bench.models.sites import AdapterSite, chosen_sites
from bench.packaged import WORKFLOW
from bench.selfcheck.check import Place
from bench.training.rng import seed_everything

OVERRIDES = (
    "methods=[lora, lora_autocast, lora_bf16, adalora, adalora_autocast, qlora, qlora_adalora]",
    "recipe_from=null",
)
ROWS = 10_000  # of training, which only a schedule asks for
STEPS = 12
FIRST_TOKEN, LAST_TOKEN = 5, 200  # ids that are words in every vocabulary


@dataclass(frozen=True)
class Shape:
    """A task and a method of the study, and the micro-batch with which it is checked."""

    task: str
    method: str
    batch: BatchShape

    def __str__(self) -> str:
        batch = self.batch
        target = f" to {batch.target}" if batch.target else ""
        return f"{self.task}/{self.method} {batch.rows} x {batch.length}{target}"


SHAPES = {
    "cpu": (
        Shape("mnli", "adalora", BatchShape(16, 64)),
        Shape("mnli", "qlora", BatchShape(32, 24)),
        Shape("cnn_dailymail", "qlora_adalora", BatchShape(16, 96, 24)),
        Shape("sst2", "adalora_autocast", BatchShape(8, 128)),
    ),
    "cuda": (
        Shape("mnli", "adalora", BatchShape(32, 128)),
        Shape("qnli", "qlora", BatchShape(32, 256)),
        Shape("cnn_dailymail", "qlora_adalora", BatchShape(8, 512, 96)),
        Shape("sst2", "adalora_autocast", BatchShape(32, 256)),
    ),
}
DEEP = {
    "cpu": (Shape("mnli", "lora", BatchShape(8, 128)), Shape("cnn_dailymail", "lora", BatchShape(8, 64, 20))),
    "cuda": (
        Shape("mnli", "lora", BatchShape(32, 40)),
        Shape("qnli", "adalora", BatchShape(16, 512)),
        Shape("cnn_dailymail", "adalora", BatchShape(8, 1024, 128)),
        Shape("cnn_dailymail", "lora_bf16", BatchShape(8, 1024, 128)),
    ),
}


def shapes_of(place: Place) -> tuple[Shape, ...]:
    """The shapes that are checked at this place; the first is that of the study's first encoder cell."""
    return SHAPES[place.device] + (DEEP[place.device] if place.deep else ())


def cell_of(place: Place, task: str, method: str, **recipe: Any) -> Cell:
    """The cell of the place's study with a short training, and with these keys of its recipe."""
    cell = load_study(place.study, OVERRIDES, WORKFLOW).find(task, method, "small", 0)
    keys = {"max_steps": STEPS, "accumulation": 1, "gradient_checkpointing": False, **recipe}
    return cell.model_copy(update={"recipe": cell.recipe.model_copy(update=keys)})


@dataclass
class Specimen:
    """A model with its adapter and its training core, on `device`."""

    cell: Cell
    model: Any
    core: Core
    device: torch.device

    def step(self, batch: Batch) -> StepReport:
        """One optimizer step of one micro-batch."""
        loss, _ = task_loss(self.model, batch, self.cell.task.kind)
        self.core.accumulate(loss)
        report: StepReport = self.core.step()
        return report


@dataclass(frozen=True)
class Attached:
    """A model with its adapter as PEFT attaches it, its adapted matrices, and the schedule of their ranks."""

    model: Any
    sites: tuple[AdapterSite, ...]
    schedule: RankSchedule
    device: torch.device


def attached(place: Place, cell: Cell, device: str | None = None) -> Attached:
    """The model of `cell` as a training starts with it, but for its weights; on `device`, or that of the place."""
    on = torch.device(device or place.device)
    release_memory()  # of the specimen before, which may hang together in cycles
    weights = saved_weights(place, cell)
    make_deterministic(cell.threads)
    seed_everything(cell.seed)  # from here on as a training does it
    model = load_backbone(cell, weights, on)
    sites = chosen_sites(find_sites(model, cell.backbone), cell.method)
    seed_everything(cell.seed + 1)
    model = attach(model, cell, sites)
    schedule = schedule_of(cell, ROWS, [(site.in_features, site.out_features) for site in sites])
    seed_everything(cell.seed + 2)
    return Attached(model, sites, schedule, on)


def specimen(place: Place, cell: Cell) -> Specimen:
    """The same with the training core."""
    found = attached(place, cell)
    core = build_core(found.model, found.sites, cell, found.schedule)
    return Specimen(cell, found.model, core, found.device)


def random_batch(cell: Cell, shape: BatchShape, device: torch.device, seed: int = 0) -> Batch:
    """Random tokens in that shape; the second row is half padding."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(length: int) -> torch.Tensor:
        return torch.randint(FIRST_TOKEN, LAST_TOKEN, (shape.rows, length), generator=generator)

    mask = torch.ones(shape.rows, shape.length, dtype=torch.long)
    mask[1:2, shape.length // 2 :] = 0
    classes = max(1, len(cell.task.labels))
    targets = tokens(shape.target) if shape.target else torch.randint(classes, (shape.rows,), generator=generator)
    inputs = {"input_ids": tokens(shape.length).to(device), "attention_mask": mask.to(device)}
    return Batch(inputs, targets.to(device), shape.rows * (shape.length + shape.target))


def drop_nothing(model: Any) -> None:
    """Turn the dropout of every layer off."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout", "activation_dropout"):  # BART keeps numbers
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def saved_weights(place: Place, cell: Cell) -> Path:
    """The folder of a checkpoint of the cell's backbone with random weights, in bfloat16 to be half as large."""
    folder = place.folder / "weights" / cell.backbone.name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder_in_one_step(folder) as new:
            _random_model(cell).bfloat16().save_pretrained(new)
    return folder


def _random_model(cell: Cell) -> Any:
    """Matrices are larger than at the start of a pretraining: there, embeddings alone would decide what comes out."""
    from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

    options = {key: value for key, value in cell.backbone.config.items() if key != "model_type"}
    config = AutoConfig.for_model(cell.backbone.config["model_type"], **options)
    seed_everything(0)
    model = (AutoModelForSeq2SeqLM if cell.task.generates else AutoModel).from_config(config)
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":  # which is tied to the embeddings
                module.weight.normal_(0.0, module.in_features**-0.5)
    return model
