"""Activations and operations of one micro-batch, from shapes alone: a real training step on the meta device.

Tensors on the meta device have shapes and no bytes, so the count follows from the model's own code, whatever its
attention, precision or checkpointing, and costs no memory. To stay fast with deep models, the model is traced with one
layer per stack and with two; every further layer adds what the second one added.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch

from bench.config.budget import Budget
from bench.config.cell import Cell
from bench.config.method import Method
from bench.config.rank_schedule import schedule_of
from bench.config.recipe import Recipe
from bench.estimate.counters import FusedKernels, LiveBytes, MatmulOperations
from bench.estimate.meta_autocast import MetaAutocast
from bench.estimate.parameters import Unpredictable, label_count, meta_model, model_shape
from bench.evaluation.loss import task_loss
from bench.inputs.collate import PIXEL_VALUES, Batch
from bench.inputs.sequences import POSITION_IDS
from bench.models.adapters import attach
from bench.models.backbone import find_sites, prepare_for_training
from bench.models.core import build_core
from bench.models.quantization import pack_layers, use_linear_layers
from bench.models.sites import AdapterSite, chosen_sites

Device = Literal["cpu", "cuda"]
# Keys of transformers' configs that hold a number of layers.
DEPTHS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers", "n_layer")
# What a micro-batch of a given shape feels of a recipe.
FELT = ("batch_size", "accumulation", "processes", "gradient_checkpointing", "adapter_dropout", "head_dropout")


@dataclass(frozen=True)
class BatchShape:
    """Shape of a padded micro-batch: input ids [rows, length], label ids [rows, target] (target 0: no generation)."""

    rows: int
    length: int
    target: int = 0


@dataclass(frozen=True)
class Traced:
    """Forward and backward of one micro-batch.

    activations: bytes that live at the same time beside the model and its optimizer, at the most.
    operations: floating-point operations of matmuls; a multiplication and its addition are two.
    """

    activations: int
    operations: int


def trace(cell: Cell, batch: BatchShape, device: Device, sites: Sequence[AdapterSite], rank: int) -> Traced:
    """Count what one micro-batch of `cell` takes on a device of that type, without having one.

    `sites` are the adapted matrices and `rank` is the rank that each of them starts with; both matter only where the
    adapter's layers are ours. Raises BenchError if the backbone's file has no `config`, Unpredictable if the code of
    the model looks at values, which tensors on the meta device don't have.

    Example:
        >>> predicted = predict_parameters(cell)
        >>> trace(cell, BatchShape(rows=32, length=128), "cuda", predicted.sites, predicted.rank).activations
    """
    if not cell.method.lean:
        return _traced(_anonymous(cell, cell.method, cell.budget), batch, device)
    # LoRA and AdaLoRA share one layer, so traces at two small ranks serve every rank, allocator and regularizer: what a
    # rank keeps and multiplies is the same for each. How often a matrix is used, and on how many tokens, is up to the
    # model: ALBERT uses one for many layers, and cross-attention reads keys and values from the source.
    one, two = (_traced(_anonymous(cell, _plain_lora(cell.method), Budget(rank=r)), batch, device) for r in (1, 2))
    ranks = rank * _share(cell, sites)  # in place of the one that is in the first trace
    return Traced(
        round(one.activations + (ranks - 1) * (two.activations - one.activations)),
        round(one.operations + (ranks - 1) * (two.operations - one.operations)),
    )


def _share(cell: Cell, sites: Sequence[AdapterSite]) -> float:
    """The part of the traced matrices that are adapted: all, unless the method adapts a third of the layers."""
    if cell.method.depth is None:
        return 1.0
    every_layer = cell.method.model_copy(update={"depth": None})
    shape = model_shape(cell.backbone.model_dump_json(), cell.task.kind, label_count(cell), cell.method.storage)
    return len(sites) / len(chosen_sites(shape.sites, every_layer))


def _plain_lora(method: Method) -> Method:
    """LoRA with what of `method` a micro-batch's activations and operations depend on."""
    felt = {key: getattr(method, key) for key in ("storage", "double_quantization", "matrices")}
    return Method(name=method.name, label=method.label, adapter="lora", **felt)


def _anonymous(cell: Cell, method: Method, budget: Budget) -> str:
    """The cell as JSON without what no micro-batch feels, so that cells that cost alike share an entry of the cache."""
    method = method.model_copy(update={"name": "traced", "label": "traced", "description": "", "recipe": {}})
    recipe = Recipe(**{key: getattr(cell.recipe, key) for key in FELT})
    task = cell.task.model_copy(update={"name": "traced", "label": "traced", "description": "", "recipe": recipe})
    names = {"study": "", "budget_name": "", "seed": 0, "selection": "last"}
    unset = dict.fromkeys(("trial", "choice", "given"))
    changed = {**names, **unset, "task": task, "recipe": recipe, "budget": budget, "method": method}
    return cell.model_copy(update=changed).model_dump_json()


@lru_cache(maxsize=256)
def _traced(cell_json: str, batch: BatchShape, device: Device) -> Traced:
    cell = Cell.model_validate_json(cell_json)
    try:
        return _extrapolated(cell, batch, device)
    except (RuntimeError, NotImplementedError, AttributeError, TypeError, ValueError) as error:
        # Some models look at values, as T5's classifier looks for the end of a text; some adapters at the weights.
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
        raise Unpredictable(
            f"memory and operations of {cell.backbone.name!r} with {cell.method.adapter!r} can't be counted without "
            f"values: {reason}"
        ) from error


def _extrapolated(cell: Cell, batch: BatchShape, device: Device) -> Traced:
    """Forward and backward with one layer per stack, and as often what a second one adds as there are more of them."""
    depths = {key: cell.backbone.config[key] for key in DEPTHS if cell.backbone.config.get(key)}
    shallow = dict.fromkeys(depths, 1)
    first = _training_step(cell, shallow, batch, device)
    activations, operations = first.activations, first.operations
    for key, depth in depths.items():
        second = _training_step(cell, {**shallow, key: 2}, batch, device) if depth > 1 else first
        activations += (second.activations - first.activations) * (depth - 1)
        operations += (second.operations - first.operations) * (depth - 1)
    return Traced(activations, operations)


def _training_step(cell: Cell, depths: dict[str, int], batch: BatchShape, device: Device) -> Traced:
    """Forward and backward of the cell's model with these `depths` of its stacks."""
    backbone = cell.backbone.model_copy(update={"config": {**cell.backbone.config, **depths}})
    cell = cell.model_copy(update={"backbone": backbone})
    model = meta_model(backbone, cell.task.kind, label_count(cell))
    if not cell.method.full_precision:
        model.bfloat16()  # nf4 too: its activations are those of bfloat16, and what it unpacks is counted as workspace
    if cell.method.storage == "nf4":
        use_linear_layers(model, pack_layers(model, backbone))
    prepare_for_training(model, cell, device)
    if cell.recipe.gradient_checkpointing:
        # For a checkpointed block's forward, which runs inside the modes already, and for its recomputation, which
        # doesn't: PyTorch suspends function modes during backward.
        model.gradient_checkpointing_enable(
            {"use_reentrant": False, "context_fn": lambda: (nullcontext(), _modes(cell, device))}
        )
    sites = chosen_sites(find_sites(model, backbone), cell.method)
    model = attach(model, cell, sites)
    # The schedule only has to be valid: no optimizer step is made.
    schedule = schedule_of(cell, 100 * batch.rows, [(site.in_features, site.out_features) for site in sites])
    core = build_core(model, sites, cell, schedule)
    inputs = _meta_batch(cell, batch)
    # Weights and training state are predicted by bench/estimate/parameters.py, so they don't count here.
    held = [*model.parameters(), *model.buffers(), core.flat.data, core.flat.grad]
    with LiveBytes(held) as live, MatmulOperations() as matmuls, torch.device("meta"):
        with _modes(cell, device):
            loss, _ = task_loss(model, inputs, cell.task.kind)
        core.accumulate(loss)
    return Traced(int(live.peak), matmuls.total)


@contextmanager
def _modes(cell: Cell, device: Device) -> Iterator[None]:
    """Inside, a forward pass on the meta device keeps what it keeps on a device of that type."""
    kernels: AbstractContextManager[object] = FusedKernels() if device == "cuda" else nullcontext()
    # Entered last, so that attention gets what autocast made of its inputs.
    casts = MetaAutocast(device) if cell.method.storage == "fp32_autocast" else nullcontext()
    with kernels, casts:
        yield


def _meta_batch(cell: Cell, batch: BatchShape) -> Batch:
    """A micro-batch of that shape on the meta device, with the dtypes of a real one."""
    facts = cell.task.facts
    options = cell.task.sequences_per_row
    with torch.device("meta"):
        length = batch.length + batch.target if facts.family == "decoder" else -(-batch.length // options)
        ids = torch.ones(batch.rows * options, length, dtype=torch.long)
        size: tuple[int, ...] = (batch.rows, batch.target) if facts.target_tokens else (batch.rows,)
        size = (batch.rows, 2) if facts.target == "span" else size
        targets = torch.zeros(size, dtype=torch.float32 if facts.target == "number" else torch.long)
        if facts.input == "image":
            channels, size = cell.backbone.config.get("num_channels", 3), cell.backbone.config["image_size"]
            return Batch({PIXEL_VALUES: torch.zeros(batch.rows, channels, size, size)}, targets, 0)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if facts.family == "decoder":
            inputs[POSITION_IDS] = torch.ones_like(ids)
        return Batch(inputs, targets, 0, (options,) * batch.rows if options > 1 else None)
