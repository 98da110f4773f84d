"""The record that a finished cell leaves. Records are the truth: every table, figure and page is made from them.

A field that is renamed or removed raises SCHEMA_VERSION by one and gets a migration in bench/records/migrations.py.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from bench.config.cell import Cell
from bench.config.types import Stored
from bench.records.energy import Energy
from bench.records.rung_score import RungScore

SCHEMA_VERSION = 2
PROGRESS = ("attempt", "resumed_at", "discarded_checkpoints", "restarted", "devices", "cells_per_gpu")
Status = Literal["ok", "oom", "diverged", "failed"]


class CellKey(Stored):
    """The names of the cell, and the hashes that identify it: `Cell.spec_hash`, and as `hash` `Cell.identity`."""

    study: str
    task: str
    backbone: str
    method: str
    budget: str
    seed: int
    id: str
    spec_hash: str
    hash: str

    @classmethod
    def of(cls, cell: Cell, identity: str) -> CellKey:
        """The key of `cell`, whose `Cell.identity` with its prepared data is `identity`."""
        return cls(
            study=cell.study,
            task=cell.task.name,
            backbone=cell.backbone.name,
            method=cell.method.name,
            budget=cell.budget_name,
            seed=cell.seed,
            id=cell.id,
            spec_hash=cell.spec_hash,
            hash=identity,
        )


class Reported(Stored):
    """The score that the tables show.

    `value` is a fraction from 0 to 1 (a correlation: from -1 to 1), or a perplexity, or None where the metric is
    undefined, as the correlation of constant predictions is.
    """

    split: str
    metric: str
    value: float | None


class StartUp(Stored):
    """Seconds before the first step.

    `libraries`: from the start of the process until everything is imported. `data`: reading the prepared rows and the
    tokenizer. `model`: loading the base, attaching the adapter, and reading a checkpoint where there is one.
    """

    libraries: float
    data: float
    model: float


class Seconds(Stored):
    """Wall time, measured with the monotonic clock.

    `startup` lasts until the first step. `training` excludes evaluation. `evaluation` holds what happens between the
    steps (held-out losses, scores after an epoch) and the evaluation at the end. If a cell needed several attempts,
    `training`, `saving` and the evaluation between the steps add up over all of them, without the steps that an
    interruption lost; the rest is that of the last attempt.
    """

    startup: float
    training: float
    evaluation: float
    saving: float
    total: float
    parts_of_startup: StartUp | None = None


class RankGrowth(Stored):
    """One event in which an allocator added ranks.

    After optimizer step `step` all matrices together had `ranks` ranks. `loss` is the held-out loss that triggered the
    growth, if it was triggered by one.
    """

    step: int
    ranks: int
    reason: str
    loss: float | None = None


class Utilization(Stored):
    """How much of the device the training used.

    `flops_per_step`: floating-point operations of one forward and backward pass, counted from the shapes at the mean
    padded lengths. `matmul_flops_per_second`: what the device reaches in a plain matrix multiplication in the base's
    precision, measured in the same job. `fraction`: the training's rate over all its seconds, divided by that of all
    its processes.
    """

    flops_per_step: int
    matmul_flops_per_second: float
    fraction: float


class Training(Stored):
    """What the training did.

    `rows` and `tokens` are sums over all steps, without padding. `attempt` counts from 1 and says which attempt
    finished. `resumed_at` lists the steps at which an attempt continued from a checkpoint; `discarded_checkpoints`
    those that failed their checks, each with its fault; `restarted` says that no checkpoint was usable and an attempt
    began again at step 0; `devices` the models of the devices on which the attempts went on from each other, each one
    once: where there are several, bits and seconds are a mixture. `cells_per_gpu` is the most cells, itself counted,
    that could share its GPU in one of these attempts: above 1, its seconds are those of a shared GPU. `failed_step` is
    the step whose loss was not finite. `selected_step` is the step that is reported if the study selects the best step
    on held-out rows, else None: the last step is reported. `stopped_at_rung` is the rung of successive halving, from 1,
    at which a trial was stopped after `steps` steps, else None: it was trained to its end.
    """

    steps: int
    skipped_steps: int
    rows: int
    tokens: int
    seconds: Seconds
    energy: Energy | None = Field(None, description="None: not measured, as in records before version 0.2")
    utilization: Utilization | None = None
    # Everything from here to `cells_per_gpu` differs between an interrupted and an uninterrupted run of the same cell.
    attempt: int = 1
    resumed_at: tuple[int, ...] = ()
    discarded_checkpoints: tuple[str, ...] = ()
    restarted: bool = False
    devices: tuple[str, ...] = ()
    cells_per_gpu: int = 1
    failed_step: int | None = None
    final_loss: float | None = None
    growths: tuple[RankGrowth, ...] = ()
    selected_step: int | None = None
    stopped_at_rung: int | None = None


class BudgetUse(Stored):
    """The budget's `limit` and what the finished adapter has `used` of it, both in `unit`.

    A record with used > limit is never written with status `ok`.
    """

    unit: Literal["ranks", "parameters"]
    limit: int
    used: int


class Parameters(Stored):
    """Parameter counts, by one rule for all methods.

    The adapter is counted alone (LoRA's A and B, AdaLoRA's P, Lambda and Q) before and after training. The head is
    everything else that is trained.
    """

    adapter_start: int
    adapter_end: int
    head: int
    head_by_module: dict[str, int]
    base: int
    budget: BudgetUse


class SiteRank(Stored):
    """One adapted matrix and its rank at the start and at the end of training.

    `index` is its position in each `live_ranks` of curve.jsonl, which follows the order of the model's modules.
    """

    index: int | None = None
    matrix: str
    layer: int | None
    stack: str
    in_features: int
    out_features: int
    start: int
    end: int


class BaseBytes(Stored):
    """Bytes of the frozen base as stored: weights, quantization constants, buffers."""

    weights: int
    quantization: int
    buffers: int

    @property
    def total(self) -> int:
        return self.weights + self.quantization + self.buffers


class PeakBytes(Stored):
    """Peak memory of the training.

    On a GPU, `peak` is the most that was allocated, `requested` the same without what the allocator rounds up, and
    `reserved` the most that it held: of all attempts that went on from each other. On the CPU, `peak` is the largest
    resident set and `growth` how far it rose above that of the loaded model in a rehearsal of the largest batch, None
    if the attempt failed before it. `predicted` is the prediction made before the first step: of `peak` on a GPU, of
    `growth` on the CPU.
    """

    device: str
    peak: int
    reserved: int | None = None
    requested: int | None = None
    growth: int | None = None
    predicted: int | None = None


class Bytes(Stored):
    """Sizes in bytes. None: a failure came before the size was known.

    `gradients`, `optimizer` and `importance` are at their largest: at the start if ranks shrink, at the end if they
    grow.
    """

    base: BaseBytes | None
    adapter_file: int | None
    gradients: int | None
    optimizer: int | None
    importance: int | None
    peak: PeakBytes


class Record(Stored):
    """Everything that one cell leaves in its record.json; `kind` tells what it was made by.

    `training` is a cell of the study, `trial` a training that tunes the recipe, and `evaluation` a scoring by itself. A
    trial is scored on one split alone, `held-out`: rows of the training split that it was not trained on.
    """

    # Written as constants, a NaN or infinity makes canonical_json refuse the record; the default would write null.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    schema_version: int = SCHEMA_VERSION
    kind: Literal["training", "trial", "evaluation"] = "training"
    cell: CellKey
    spec: dict[str, Any]  # plain JSON and no Cell, so that a record can still be read when Cell has changed
    status: Status
    message: str | None = None
    log_tail: tuple[str, ...] = Field((), description="last lines of the log, if the cell failed")
    notes: tuple[str, ...] = Field((), description="what a reader of the numbers should know")
    selection: str = "last"
    reported: Reported | None = None
    metrics: dict[str, dict[str, dict[str, float | None]]] = Field(
        {}, description="split: {last or best: {metric: value}}; a fraction, but for a perplexity"
    )
    loss: dict[str, float | None] = Field({}, description="split: mean loss of the task; None: not finite")
    training: Training | None = None
    rungs: tuple[RungScore, ...] = Field((), description="of a trial: its scores at the rungs that it reached")
    parameters: Parameters | None = None
    ranks: dict[str, SiteRank] = Field({}, description="by the name of the matrix's module")
    bytes: Bytes | None = None
    evaluation: dict[str, Any] = Field(
        {},
        description="batch size, and how often it was halved for lack of memory; every setting that decided the texts, "
        "and those of the checkpoint that were overruled",
    )
    environment: dict[str, Any] = Field({}, description="see bench/records/environment.py and slurm.py")
    data: dict[str, Any] = Field(
        {},
        description="fingerprint, revision and files of the data; whether it is synthetic; by split, how many rows "
        "without a target, or whose right option is there twice, were left out",
    )
    model: dict[str, Any] = Field({}, description="revision and SHA-256 of the files of the backbone")
    initial_adapter_sha256: str | None = Field(None, description="of the adapter before the first step")
    files: dict[str, str] = Field({}, description="SHA-256 of the files beside the record, by path")
    checksums: dict[str, str] = Field({}, description="by field, so that an edit by hand is noticed and named")


def result_of(record: Record) -> dict[str, Any]:
    """The part of a record that a second run of the same cell must repeat bit for bit, interrupted or not.

    Left out are times, attempts and the machine.
    """
    plain = record.model_dump(mode="json", exclude={"checksums", "environment", "notes", "log_tail"})
    if plain["training"]:
        for key in (*PROGRESS, "seconds", "energy", "utilization"):
            del plain["training"][key]
    if plain["bytes"]:
        del plain["bytes"]["peak"]
    return plain
