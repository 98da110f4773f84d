"""The record: the JSON that a finished cell leaves, as typed models. Light: no torch, no pandas.

All metric values are fractions in [0, 1] (correlations in [-1, 1]); None means undefined, and no number is ever NaN.
Bytes are bytes, seconds come from the monotonic clock, counts are exact.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

Status = Literal["ok", "oom", "diverged", "failed"]


class Part(BaseModel):
    """Frozen; an unknown key, NaN or infinity is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CellName(Part):
    """Which cell. `hash` is its identity: spec and data together; `spec_hash` that of the spec alone."""

    study: str
    task: str
    backbone: str
    method: str
    budget: str
    seed: int
    id: str
    spec_hash: str
    hash: str


class SplitMetrics(Part):
    """Metrics at the last step, and at the step chosen on held-out rows where the study selects `best`."""

    last: dict[str, float | None]
    best: dict[str, float | None] | None = None


class Reported(Part):
    """The one number that tables show first: selection `last` or `best` of the record, on this split."""

    split: str
    metric: str
    value: float | None = None


class Seconds(Part):
    startup: float = 0.0
    training: float = 0.0
    evaluation: float = 0.0
    saving: float = 0.0
    total: float = 0.0


class Training(Part):
    """rows and tokens: seen in all steps, padding not counted. seconds: of all attempts together.

    resumed_at: steps at which an attempt went on from a checkpoint. discarded: checkpoints that were refused, each with
    its fault. restarted: checkpoints existed and all were bad, so an attempt began at step 0.
    """

    steps: int
    total_steps: int
    skipped_steps: int = 0
    tokens: int = 0
    rows: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    selected_step: int | None = None
    failed_step: int | None = None
    seconds: Seconds = Seconds()
    tokens_per_second: float | None = None
    attempts: int = 1
    resumed_at: list[int] = []
    discarded: list[str] = []
    restarted: bool = False


class BudgetProof(Part):
    """limit: what the adapter may hold at the end; kept: what it holds, counted exactly; both in `unit`."""

    unit: Literal["ranks", "parameters"]
    limit: int
    kept: int


class Parameters(Part):
    """Elements. adapter_*: A, B and singular values, heads not counted; by_head: of each head module."""

    adapter_start: int
    adapter_end: int
    head: int
    frozen: int
    total: int
    budget: BudgetProof
    by_head: dict[str, int] = {}


class SiteRank(Part):
    """One adapted matrix [out, in] and its live rank at the start and at the end."""

    matrix: str
    layer: int | None
    stack: str = ""
    start: int
    end: int
    in_features: int = Field(alias="in")
    out_features: int = Field(alias="out")

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class BaseBytes(Part):
    """The frozen base as stored: weights, the constants of its quantisation, buffers."""

    weights: int
    quantisation: int = 0
    buffers: int = 0


class PeakBytes(Part):
    """Largest use while training: allocated and reserved on a GPU, resident on the CPU. growth: above the start."""

    device: str
    resident: int | None = None
    allocated: int | None = None
    reserved: int | None = None
    growth: int | None = None


class Bytes(Part):
    """gradients, optimizer, importance: at their largest, which is at the start of the training."""

    base: BaseBytes | None = None
    adapter_file: int | None = None
    gradients: int = 0
    optimizer: int = 0
    importance: int = 0
    peak: PeakBytes | None = None
    predicted_peak: int | None = None


class Evaluation(Part):
    """batch_size: as it ended; halvings: how often memory ran out and it was halved."""

    batch_size: int
    halvings: int = 0
    predictions_sha256: str | None = None


class Environment(Part):
    """other_processes: ids of processes that used the device too, so that memory figures would be false."""

    python: str
    packages: dict[str, str]
    lock_sha256: str | None
    commit: str | None
    dirty: bool | None
    device: str
    driver: str | None
    threads: int
    machine: str
    other_processes: list[int] = []
    slurm: dict[str, str] | None = None


class DataRef(Part):
    fingerprint: str
    source: str
    synthetic: bool
    revision: str | None = None
    files: dict[str, str] = {}
    rows: dict[str, int] = {}


class ModelRef(Part):
    """files: SHA-256 by name."""

    files: dict[str, str] = {}
    revision: str | None = None
    synthetic: bool = False


class Record(Part):
    """One cell, finished or failed for good. What could not be known (a failure early on) is None or empty.

    checksums: by field name, so that a value edited by hand is found and named (`bench.records.io`).
    """

    schema_version: int = SCHEMA_VERSION
    kind: Literal["training", "evaluation"] = "training"
    cell: CellName
    spec: dict[str, Any]
    status: Status
    message: str | None = None
    log_tail: list[str] = []
    notes: list[str] = []
    selection: Literal["last", "best"] = "last"
    metrics: dict[str, SplitMetrics] = {}
    reported: Reported
    loss: dict[str, float] = {}
    training: Training
    parameters: Parameters | None = None
    ranks: dict[str, SiteRank] = {}
    bytes: Bytes = Bytes()
    evaluation: Evaluation | None = None
    environment: Environment
    data: DataRef | None = None
    model: ModelRef | None = None
    initial_adapter_sha256: str | None = None
    adapter_sha256: str | None = None
    curve_sha256: str | None = None
    checksums: dict[str, str] = {}


def result_of(record: Record) -> dict[str, Any]:
    """What a second run of the same cell, interrupted or not, must repeat bit for bit: all but times and places."""
    plain = record.model_dump(mode="json", by_alias=True, exclude={"checksums", "environment", "notes", "log_tail"})
    for key in ("seconds", "tokens_per_second", "attempts", "resumed_at", "discarded", "restarted"):
        del plain["training"][key]
    del plain["bytes"]["peak"]
    return plain
