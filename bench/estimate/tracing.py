"""Activations and operations of a micro-batch, from shapes alone: a real training step on the meta device.

The model is traced with one layer a stack, and with two; every further layer adds what the second did. So the count
follows from the model's own code, whatever its attention, precision or checkpointing, and costs no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from unittest.mock import patch

from bench.config.budget import Budget
from bench.config.cell import Cell
from bench.config.rank_schedule import schedule_of
from bench.estimate.parameters import meta_model
from bench.models.adapters import attach
from bench.models.backbone import find_sites, settle
from bench.models.sites import AdapterSite, chosen_sites

Device = Literal["cpu", "cuda"]
DEPTHS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers")
PLAIN = {
    "adapter": "lora", "allocator": "fixed", "growth": None, "unit": "ranks", "regularizer": None, "depth": None,
}  # fmt: skip


@dataclass(frozen=True)
class BatchShape:
    """Rows of a micro-batch, its padded source and target lengths in tokens (target 0: nothing is generated)."""

    rows: int
    length: int
    target: int = 0


@dataclass(frozen=True)
class Traced:
    """Of forward and backward of one micro-batch: bytes that live at their most beside the model, and floating-point
    operations (a multiplication and its addition are two)."""

    activations: int
    operations: int


def trace(cell: Cell, batch: BatchShape, device: Device, sites: Sequence[AdapterSite], rank: int) -> Traced:
    """`rank`: of each of `sites` at the start, where the adapter is ours. Raises BenchError where the backbone's file
    has no config."""
    method = cell.method
    if method.lean:  # all of these train alike: one trace at rank 1 serves them
        method = method.model_copy(update=PLAIN)
    same = cell.model_copy(
        update={
            "study": "", "budget_name": "", "seed": 0, "budget": Budget(rank=1) if method.lean else cell.budget,
            "method": method.model_copy(update={"name": "traced", "label": "", "description": "", "recipe": {}}),
        }
    )  # fmt: skip
    found = _traced(same.model_dump_json(), batch, device)
    if not method.lean:
        return found
    tokens = {site: batch.rows * (batch.target if "decoder" in site.stack else batch.length) for site in sites}
    products = sum(count * (site.in_features + site.out_features) for site, count in tokens.items())
    return Traced(
        found.activations + 4 * (rank - 1) * sum(tokens.values()),
        found.operations + 3 * 2 * (rank - 1) * products,  # forward, and backward to the input and to the matrices
    )


@lru_cache(maxsize=256)
def _traced(cell_json: str, batch: BatchShape, device: Device) -> Traced:
    cell = Cell.model_validate_json(cell_json)
    depths = {key: cell.backbone.config[key] for key in DEPTHS if cell.backbone.config.get(key)}
    shallow = dict.fromkeys(depths, 1)
    first = activations, operations = _step(cell, shallow, batch, device)
    for key, depth in depths.items():
        second = _step(cell, {**shallow, key: 2}, batch, device) if depth > 1 else first
        activations += (second[0] - first[0]) * (depth - 1)
        operations += (second[1] - first[1]) * (depth - 1)
    return Traced(activations, operations)


def _step(cell: Cell, depths: dict[str, int], batch: BatchShape, device: Device) -> tuple[int, int]:
    """Bytes and operations of the backbone with these `depths`."""
    import torch

    from bench.engine.step import Core
    from bench.estimate.live import LiveBytes
    from bench.estimate.operations import Operations
    from bench.evaluation.loss import task_loss
    from bench.inputs.collate import Batch

    backbone = cell.backbone.model_copy(update={"config": {**cell.backbone.config, **depths}})
    cell = cell.model_copy(update={"backbone": backbone})
    labels = 0 if cell.task.generates else max(1, len(cell.task.labels))
    model = meta_model(backbone, cell.task.kind, labels)
    if cell.method.storage != "fp32":
        model.bfloat16()
    settle(model, cell, device)
    sites = chosen_sites(find_sites(model, backbone), cell.method)
    model = attach(model, cell, sites)
    shapes = [(site.in_features, site.out_features) for site in sites]
    schedule = schedule_of(cell, 100 * batch.rows + cell.recipe.holdout_rows, shapes)
    core = Core(model, sites if cell.method.lean else (), cell, schedule)
    with torch.device("meta"):
        ids = torch.ones(batch.rows, batch.length, dtype=torch.long)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        size = (batch.rows, batch.target) if cell.task.generates else (batch.rows,)
        targets = torch.zeros(size, dtype=torch.float32 if cell.task.kind == "regression" else torch.long)
    held = [*model.parameters(), *model.buffers(), core.flat.data, core.flat.grad]
    live, counted = LiveBytes(held), Operations()
    with ExitStack() as stack:
        if device == "cuda":
            stack.enter_context(_as_on_a_gpu())
        stack.enter_context(live)
        stack.enter_context(counted)
        stack.enter_context(torch.device("meta"))
        loss, _ = task_loss(model, Batch(inputs, targets, 0), cell.task.kind)
        core.accumulate(loss)
    return int(live.peak), counted.total


@contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    """Dropout with a mask of a byte an element, and attention that keeps no matrix of length x length."""
    import torch

    functional = torch.nn.functional

    def dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:  # noqa: ARG001
        return torch.native_dropout(x, p, True)[0] if training and p > 0 else x

    with (
        patch.object(functional, "dropout", dropout),
        patch.object(functional, "scaled_dot_product_attention", _fused_attention()),
    ):
        yield


@lru_cache(maxsize=1)
def _fused_attention() -> Callable[..., Any]:
    import torch

    class Fused(torch.autograd.Function):  # type: ignore[misc]
        """Keeps query, key, value, output and a float32 a row of attention, as fused kernels do."""

        @staticmethod
        def forward(ctx: Any, query: Any, key: Any, value: Any) -> Any:
            out = query.new_empty(*query.shape[:-1], value.shape[-1])
            ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
            return out

        @staticmethod
        def backward(ctx: Any, grad: Any) -> tuple[Any, ...]:  # noqa: ARG004
            return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
        return Fused.apply(query, key, value)

    return attention
