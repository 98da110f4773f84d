"""What a finished training says of itself, in the record's words."""

from __future__ import annotations

from collections.abc import Mapping

from bench.accounting.activations import BatchShape
from bench.accounting.peak_prediction import predict_peak
from bench.accounting.predict import predict
from bench.prepare.data import Split
from bench.records.schema import BudgetUse, CellKey, Parameters, SiteRank
from bench.spec.cell import Cell
from bench.training.batches import LargestBatch, largest_batch
from bench.training.core import Core


def cell_key(cell: Cell, identity: str) -> CellKey:
    return CellKey(
        study=cell.study, task=cell.task.name, backbone=cell.backbone.name, method=cell.method.name,
        budget=cell.budget_name, seed=cell.seed, id=cell.id, spec_hash=cell.spec_hash, hash=identity,
    )  # fmt: skip


def budget_use(core: Core, plain_ranks: int) -> BudgetUse:
    """What the budget allows at the end, and what is live. `plain_ranks`: of an adapter whose layers are not ours."""
    unit = core.cell.method.unit
    if not core.cell.method.lean:
        return BudgetUse(unit=unit, limit=core.schedule.target_budget, kept=plain_ranks)
    kept = sum(core.live_ranks().values()) if unit == "ranks" else core.live_parameters()
    return BudgetUse(unit=unit, limit=core.schedule.target_budget, kept=kept)


def parameters_of(core: Core, start: Mapping[str, int], heads: dict[str, int], base: int, use: BudgetUse) -> Parameters:
    """The adapter at the start (every rank) and at the end (the live ones), heads and base apart. Where the layers are
    not ours the adapter is whatever is trained beside the heads."""
    layout = core.flat.layout
    extra = 1 if layout.svd else 0
    at_start = sum(start[site.name] * (site.parameters_per_rank + extra) for site in layout.sites)
    at_end = core.live_parameters()
    if not layout.sites:
        at_start = at_end = core.flat.elements - sum(heads.values())
    return Parameters(
        adapter_start=at_start, adapter_end=at_end, head=sum(heads.values()),
        head_by_module=heads, base=base, budget=use,
    )  # fmt: skip


def ranks_of(core: Core, start: Mapping[str, int]) -> dict[str, SiteRank]:
    """Of each matrix, its rank at the start and at the end."""
    end = core.live_ranks()
    return {
        site.name: SiteRank(
            place=place, matrix=site.matrix, layer=site.layer, stack=site.stack, in_features=site.in_features,
            out_features=site.out_features, start=start[site.name], end=end[site.name],
        )
        for place, site in enumerate(core.flat.layout.sites)
    }  # fmt: skip


def largest_of(train: Split, cell: Cell, total: int) -> LargestBatch:
    """The largest micro-batch among the training's `total` steps."""
    lengths, targets = [len(ids) for ids in train.input_ids], [len(ids) for ids in train.label_ids]
    return largest_batch(lengths, targets, cell.recipe.batch_size, cell.recipe.accumulation, cell.seed, total)


def predicted_peak(cell: Cell, largest: LargestBatch, device: str) -> int | None:
    """Bytes that this training was foreseen to take with that batch: allocated on a GPU, growth over the loaded model
    on the CPU. None for a backbone without a config in its file."""
    if not cell.backbone.config:
        return None
    batch = BatchShape(len(largest.rows), largest.length, largest.target)
    found = predict_peak(cell, predict(cell), batch, "cuda" if device == "cuda" else "cpu")
    return found.total if device == "cuda" else found.growth
