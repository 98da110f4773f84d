"""From a training to its record: the parts of a Record, each from the object that knows it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from bench.config.cell import Cell
from bench.config.rank_schedule import cap_of
from bench.config.tuning import HELD_OUT
from bench.engine.step import Core
from bench.errors import BenchError
from bench.estimate.memory import predict_peak
from bench.estimate.parameters import Unpredictable, predict_parameters
from bench.estimate.tracing import BatchShape, trace
from bench.evaluation.evaluate import Evaluated
from bench.files import digest
from bench.inputs.datasets import recorded_data
from bench.inputs.repeated_options import notes_of_repeated
from bench.inputs.splits import Split
from bench.models.adapters import weights_file
from bench.models.precision import matmul_dtype, matmul_precision
from bench.models.sites import AdapterSite
from bench.paths import CURVE, PREDICTIONS
from bench.records.energy import Energy
from bench.records.environment import environment, other_processes
from bench.records.schema import (
    BaseBytes,
    BudgetUse,
    Bytes,
    CellKey,
    Parameters,
    PeakBytes,
    RankGrowth,
    Record,
    Reported,
    Seconds,
    SiteRank,
    Training,
    Utilization,
)
from bench.records.slurm import slurm_use
from bench.training.batches import FirstEpoch, Padded, first_epoch
from bench.training.done import Inputs
from bench.training.failed import if_told
from bench.training.loop import Counters
from bench.training.measure import matrix_rate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What is known before the first step.

    `frozen` and `heads` count parameters (heads by module), `ranks` are those of each matrix, `plain_ranks` the ranks
    of an adapter whose layers are PEFT's own, `bytes` those of what training holds beside base and activations.
    """

    adapter_sha256: str
    heads: dict[str, int]
    frozen: int
    ranks: dict[str, int]
    plain_ranks: int
    bytes: dict[str, int]


def completed_record(
    *,
    common: Mapping[str, Any],
    cell: Cell,
    core: Core,
    start: Start,
    evaluated: Evaluated,
    last: Evaluated | None,
    training: Training,
    base: BaseBytes | None,
    peak: PeakBytes,
    out: Path,
    weights: Path,
) -> Record:
    """The record of a cell that was trained and evaluated.

    `weights`: the file of what was trained. The cell's other files stand in `out`, and those of `weights` too unless
    the cell is a trial, which keeps no adapter and no model.

    `last`: the scores of the last step, where another one is reported. Raises BenchError if the budget was not kept.
    """
    use = budget_use(core, cell, start.plain_ranks)
    if use.used > use.limit:
        raise BenchError(f"{cell.id}: {use.used} {use.unit} kept, the budget is {use.limit}")
    split, metric = HELD_OUT if cell.trial else cell.task.primary_split, cell.task.metric
    files = (CURVE, PREDICTIONS) if cell.trial else (CURVE, PREDICTIONS, weights_file(cell.method))
    # Ranks shrink or grow: what they take is at its largest at the start or at the end.
    largest = {name: max(count, core.bytes()[name]) for name, count in start.bytes.items()}
    return Record(
        **{**common, "notes": (*common["notes"], *evaluated.notes)},
        status="ok",
        reported=Reported(split=split, metric=metric, value=evaluated.metrics[split][metric]),
        metrics={
            name: {cell.selection: values, **({"last": last.metrics[name]} if last else {})}
            for name, values in evaluated.metrics.items()
        },
        loss=evaluated.loss,
        training=training,
        parameters=parameters_of(core, start.ranks, start.heads, start.frozen, use),
        ranks=ranks_of(core, start.ranks),
        bytes=Bytes(
            base=base,
            adapter_file=weights.stat().st_size,
            gradients=largest["gradients"],
            optimizer=largest["optimizer"],
            importance=largest["importance"],
            peak=peak,
        ),
        evaluation=evaluated.for_record,
        initial_adapter_sha256=start.adapter_sha256,
        files={name: digest(out / name) for name in files},
    )


def common_parts(cell: Cell, inputs: Inputs, device: torch.device) -> dict[str, Any]:
    """What every record says: the cell, its inputs, where it ran, and what to beware of in its figures."""
    others = other_processes(str(device))
    notes = [f"processes {others} used the device too: memory figures are not this cell's alone"] if others else []
    rows = inputs.data_manifest
    notes += notes_of_repeated(rows)
    return {
        "kind": "trial" if cell.trial else "training",
        "cell": CellKey.of(cell, inputs.identity),
        "spec": cell.model_dump(mode="json"),
        "selection": cell.selection,
        "data": recorded_data(rows),
        "model": inputs.model_manifest,
        "environment": {
            **environment(str(device)),
            "matmul_precision": if_told(lambda: matmul_precision(device.type, cell.method.storage)),
            "threads": cell.threads,
            "other_processes": others,
            "slurm": slurm_use(),
        },
        "notes": tuple(notes),
    }


def budget_use(core: Core, cell: Cell, plain_ranks: int) -> BudgetUse:
    """What the budget allows, and what is live: at the end, or after the step at which a trial is stopped.

    `plain_ranks` are the ranks of an adapter whose layers are not ours; they count only for such an adapter.
    """
    unit, limit = cap_of(cell, core.schedule)
    if core.schedule.prunes:  # at the last step the two are one
        limit = max(limit, core.schedule.budget(core.completed))
    if not cell.method.lean:
        return BudgetUse(unit=unit, limit=limit, used=plain_ranks)
    used = sum(core.live_ranks().values()) if unit == "ranks" else core.live_parameters()
    return BudgetUse(unit=unit, limit=limit, used=used)


def parameters_of(core: Core, start: Mapping[str, int], heads: dict[str, int], base: int, use: BudgetUse) -> Parameters:
    """Parameters of the adapter at the start (every rank) and at the end (live ranks), of the heads, and of the base.

    If the adapter's layers are not ours, everything that is trained beside the heads counts as the adapter.
    """
    layout = core.flat.layout
    extra = 1 if layout.svd else 0
    at_start = sum(start[site.name] * (site.parameters_per_rank + extra) for site in layout.sites)
    at_end = core.live_parameters()
    if not layout.sites:
        at_start = at_end = core.flat.elements - sum(heads.values())
    return Parameters(
        adapter_start=at_start,
        adapter_end=at_end,
        head=sum(heads.values()),
        head_by_module=heads,
        base=base,
        budget=use,
    )


def ranks_of(core: Core, start: Mapping[str, int]) -> dict[str, SiteRank]:
    """Of each matrix, its rank at the start and at the end."""
    end = core.live_ranks()
    return {
        site.name: SiteRank(
            index=index,
            matrix=site.matrix,
            layer=site.layer,
            stack=site.stack,
            in_features=site.in_features,
            out_features=site.out_features,
            start=start[site.name],
            end=end[site.name],
        )
        for index, site in enumerate(cast("Sequence[AdapterSite]", core.flat.layout.sites))
    }


def training_of(
    *,
    core: Core,
    counters: Counters,
    seconds: Seconds,
    energy: Energy | None,
    utilization: Utilization | None,
    selected_step: int | None,
    failed_step: int | None,
    final_loss: float | None,
) -> Training:
    return Training(
        steps=core.completed if failed_step is None else failed_step,
        skipped_steps=core.skipped_steps(),
        rows=counters.rows,
        tokens=counters.tokens,
        seconds=seconds,
        energy=energy,
        utilization=utilization,
        attempt=counters.attempt,
        resumed_at=tuple(counters.resumed_at),
        discarded_checkpoints=tuple(counters.discarded),
        restarted=counters.restarted,
        devices=tuple(counters.devices),
        cells_per_gpu=counters.cells_per_gpu,
        failed_step=failed_step,
        final_loss=final_loss,
        selected_step=selected_step,
        growths=tuple(RankGrowth(**event) for event in core.allocator.growths()),
    )


def batches_of(train: Split, cell: Cell, total: int) -> FirstEpoch:
    """The micro-batches of the training's first epoch, `total` steps at the most."""
    recipe = cell.recipe
    return first_epoch(train.lengths, train.target_lengths, recipe.batch_size, recipe.micro_batches, cell.seed, total)


def predicted_peak(cell: Cell, largest: Padded, device: str) -> int | None:
    """The predicted peak in bytes if `largest` is the largest batch.

    On a GPU it counts what is allocated, on the CPU the growth over the loaded model. None if the backbone's file has
    no `config`, or if the model can't be followed on the meta device.
    """
    if not cell.backbone.config:
        return None
    batch = BatchShape(len(largest.rows), largest.length, largest.target)
    try:
        prediction = predict_peak(cell, predict_parameters(cell), batch, "cuda" if device == "cuda" else "cpu")
    except Unpredictable as error:
        logger.warning("the peak can't be predicted: %s", error)
        return None
    return prediction.total if device == "cuda" else prediction.growth


def utilization_of(
    cell: Cell, batches: FirstEpoch, steps: int, seconds: float, device: torch.device
) -> Utilization | None:
    """How much of the device's matmul rate a training of `steps` steps in `seconds` seconds used.

    None if the operations can't be counted (see `predicted_peak`), or before the first step.
    """
    if not cell.backbone.config or not steps or not seconds:
        return None
    length, target = batches.mean_lengths
    shape = BatchShape(round(batches.rows_per_step), round(length), round(target))
    try:
        predicted = predict_parameters(cell)
        operations = trace(cell, shape, "cpu", predicted.sites, predicted.rank).operations
    except Unpredictable as error:
        logger.warning("the operations can't be counted: %s", error)
        return None
    rate = matrix_rate(device, matmul_dtype(device.type, cell.method.storage))
    fraction = operations * steps / seconds / (rate * cell.recipe.processes)
    return Utilization(flops_per_step=operations, matmul_flops_per_second=rate, fraction=fraction)
