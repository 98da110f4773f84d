"""The record that a finished cell leaves. Records are the truth: every table, figure and page is made from them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from bench.config.types import Frozen

SCHEMA_VERSION = 1
Status = Literal["ok", "oom", "diverged", "failed"]


class CellKey(Frozen):
    """Names of the cell, and the hashes that identify it (`Cell.spec_hash`, `Cell.identity`)."""

    study: str
    task: str
    backbone: str
    method: str
    budget: str
    seed: int
    id: str
    spec_hash: str
    hash: str


class Reported(Frozen):
    """What the tables show: a fraction from 0 to 1 (or -1 to 1); None: undefined (a correlation of constants)."""

    split: str
    metric: str
    value: float | None


class StartUp(Frozen):
    """Seconds before the first step. libraries: from the process's start; data: the prepared rows and the tokenizer;
    model: the base with its adapter, the rehearsal of the largest batch, a checkpoint where there is one."""

    libraries: float
    data: float
    model: float


class Seconds(Frozen):
    """Wall time by the monotonic clock. Training without evaluation; start-up until the first step; evaluation between
    the steps (held-out losses, scores of an epoch) and at the end.

    training, saving and evaluation between the steps: of all tries, without the steps that an interruption lost; the
    rest: of the last try.
    """

    startup: float
    training: float
    evaluation: float
    saving: float
    total: float
    parts_of_startup: StartUp | None = None


class RankGrowth(Frozen):
    """Ranks grew after optimizer step `step`, to `ranks` of all matrices together. loss: on held-out rows, where the
    reason is one."""

    step: int
    ranks: int
    reason: str
    loss: float | None = None


class Utilization(Frozen):
    """operations_per_step: floating-point, of forward and backward at the mean padded lengths, from the shapes.
    matrix_rate: operations a second of the device's own matrix product in the base's precision, measured in the same
    job. share: of that rate, over the training's seconds and all processes."""

    operations_per_step: int
    matrix_rate: float
    share: float


class Training(Frozen):
    """rows and tokens: of all steps, padding not counted. attempt: which try ended it.

    resumed_at: the steps at which a try went on from a checkpoint; discarded: checkpoints that were refused, with their
    faults; restarted: all of them were, so a try began again at step 0. failed_step: where the loss was not finite.
    selected_step: which one is reported where that is the best on held-out rows; None: the last.
    """

    steps: int
    skipped_steps: int
    rows: int
    tokens: int
    seconds: Seconds
    utilization: Utilization | None = None
    attempt: int = 1
    resumed_at: tuple[int, ...] = ()
    discarded: tuple[str, ...] = ()
    restarted: bool = False
    failed_step: int | None = None
    final_loss: float | None = None
    growths: tuple[RankGrowth, ...] = ()
    selected_step: int | None = None


class BudgetUse(Frozen):
    """`limit` and `kept` in `unit`; a record with kept > limit is never written as ok."""

    unit: Literal["ranks", "parameters"]
    limit: int
    kept: int


class Parameters(Frozen):
    """One counting rule for all methods: the adapter alone (A, B, E) at the start and at the end, heads apart."""

    adapter_start: int
    adapter_end: int
    head: int
    head_by_module: dict[str, int]
    base: int
    budget: BudgetUse


class SiteRank(Frozen):
    """A matrix and its ranks. place: where it stands among `live_ranks` in the curve (the order of the model)."""

    place: int | None = None
    matrix: str
    layer: int | None
    stack: str
    in_features: int
    out_features: int
    start: int
    end: int


class BaseBytes(Frozen):
    """The frozen base as stored: weights, quantization state (codes' constants), buffers."""

    weights: int
    quantization: int
    buffers: int

    @property
    def total(self) -> int:
        return self.weights + self.quantization + self.buffers


class PeakBytes(Frozen):
    """GPU: allocated and reserved at the most. CPU: resident at the most, and its growth over the loaded model in the
    step with the largest batch (None where that step was made by an earlier try). predicted: before the first step, on
    a GPU for `peak`, on the CPU for `growth`."""

    device: str
    peak: int
    reserved: int | None = None
    growth: int | None = None
    predicted: int | None = None


class Bytes(Frozen):
    """What a failure prevented from being known is None. gradients, optimizer, importance: at
    their largest: the start where ranks shrink, the end where they grow. peak: of the training."""

    base: BaseBytes | None
    adapter_file: int | None
    gradients: int | None
    optimizer: int | None
    importance: int | None
    peak: PeakBytes


class Record(Frozen):
    model_config = ConfigDict(ser_json_inf_nan="constants")  # so that a hidden NaN is refused, not written as null

    schema_version: int = SCHEMA_VERSION
    kind: Literal["training", "evaluation"] = "training"
    cell: CellKey
    spec: dict[str, Any]
    status: Status
    message: str | None = None
    log_tail: tuple[str, ...] = Field((), description="last lines of a failure")
    notes: tuple[str, ...] = Field((), description="what a reader of the numbers should know")
    selection: str = "last"
    reported: Reported | None = None
    metrics: dict[str, dict[str, dict[str, float | None]]] = Field(
        {}, description="split: {last or best: {metric: fraction}}"
    )
    loss: dict[str, float | None] = Field(default_factory=dict)
    training: Training | None = None
    parameters: Parameters | None = None
    ranks: dict[str, SiteRank] = Field(default_factory=dict)
    bytes: Bytes | None = None
    evaluation: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    model: dict[str, Any] = Field(default_factory=dict)
    initial_adapter_sha256: str | None = None
    files: dict[str, str] = Field({}, description="SHA-256 of the files beside the record, by path")
    checksums: dict[str, str] = Field({}, description="by field: an edit by hand is found and named")


def result_of(record: Record) -> dict[str, Any]:
    """What a second run of the same cell must repeat bit for bit, interrupted or not: all but times, tries, places."""
    plain = record.model_dump(mode="json", exclude={"checksums", "environment", "notes", "log_tail"})
    if plain["training"]:
        for key in ("seconds", "utilization", "attempt", "resumed_at", "discarded", "restarted"):
            del plain["training"][key]
    if plain["bytes"]:
        del plain["bytes"]["peak"]
    return plain
