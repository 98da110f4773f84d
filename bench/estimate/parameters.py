"""Parameters and bytes of a cell, from configs alone: no weights are read and no memory is taken.

Models are built on the meta device, where tensors have shapes and no bytes. The counting rule, and what was measured
beside it, stand in docs/accounting.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bench.config.backbone import Backbone
from bench.config.cell import Cell
from bench.config.kinds import KINDS
from bench.config.method import Storage
from bench.config.rank_schedule import largest_rank, rank_cost, schedule_of, start_rank
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError
from bench.estimate.moments import packed_bytes
from bench.inputs.model_classes import built, head_outputs
from bench.models.adapters import attach
from bench.models.backbone import check_heads, find_sites, head_modules
from bench.models.quantization import pack_layers, unpacked_layers
from bench.models.sites import AdapterSite, chosen_sites
from bench.records.schema import BaseBytes

# Bytes per adapter parameter: one float32 for the smoothed sensitivity, one for its uncertainty.
IMPORTANCE_BYTES = {"sensitivity-uncertainty": 8, "sensitivity": 4, "magnitude": 0}

# How bitsandbytes stores an nf4 matrix, in elements and bytes (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314,
# section 3). Double quantization packs the blocks' constants in blocks too, and subtracts their mean before.
BLOCK = 64  # elements that share one constant
NESTED_BLOCK = 256  # constants that share one constant of their own
CODEBOOK = 16 * 4
NESTED_CODEBOOK = 256 * 4
NESTED_MEAN = 4


class Unpredictable(BenchError):
    """Something that only a model with weights on a real device can tell."""


@dataclass(frozen=True)
class ModelShape:
    """A backbone with its task's head, in numbers.

    sites: the matrices that can carry an adapter. head: parameters by module. head_tensors, frozen_tensors: elements of
    each parameter in the heads and outside of them. total: all parameters, heads included.
    packed_sizes: elements of each matrix that is packed into 4 bits. unpacked: parameters of the other linear layers
    outside of the heads, by the last part of their name; empty where nothing is packed. weights: bytes of what is
    neither packed nor in a head. buffers: bytes.
    """

    sites: tuple[AdapterSite, ...]
    head: dict[str, int]
    head_tensors: tuple[int, ...]
    frozen_tensors: tuple[int, ...]
    total: int
    packed_sizes: tuple[int, ...]
    unpacked: dict[str, int]
    weights: int
    buffers: int


@dataclass(frozen=True)
class Prediction:
    """What a cell will hold: parameters first, then bytes, then what both were computed from.

    Attributes:
        adapter_start: parameters of the adapter (A, B and E) before the first step; at the most, where another cell or
            the seed gives the ranks.
        adapter_end: the same after the last step, at the least and at the most. The two differ where ranks move between
            matrices of different sizes.
        head: parameters that are trained in full beside the adapter, by module.
        total: all parameters of the backbone and the heads, without the adapter.
        base: bytes of the frozen model as stored.
        unpacked: under nf4, parameters of the linear layers that stay in 16 bits all the same, by their name.
        gradients, optimizer, importance: bytes, at their largest: at the start, or at the end where ranks grow.
        folded: bytes of the copies of B times E that AdaLoRA's layers multiply by.
        gathered: bytes on the host of the gradients that GoRA gathers before the training; 0 for other methods.
        schedule: the rank schedule; None where the task's file does not declare its number of rows.
        sites: the adapted matrices.
        rank: the rank that no matrix exceeds; 0 where the adapter is not LoRA or AdaLoRA.
        largest_matrix: elements of the largest matrix that nf4 packs.
    """

    adapter_start: int
    adapter_end: tuple[int, int]
    head: dict[str, int]
    total: int
    base: BaseBytes
    unpacked: dict[str, int]
    gradients: int
    optimizer: int
    importance: int
    folded: int
    gathered: int
    schedule: RankSchedule | None
    sites: tuple[AdapterSite, ...]
    rank: int
    largest_matrix: int


def predict_parameters(cell: Cell) -> Prediction:
    """Predict the parameters and bytes of `cell`.

    Raises BenchError if the backbone's file has no `config`, or if no valid rank schedule exists for the cell.

    Example:
        >>> cell = load_study("paper").find("sst2", "lora", "small", 0)
        >>> predict_parameters(cell).adapter_start  # rank 2 in 72 matrices of DeBERTa-v3-base
        331776
    """
    labels = label_count(cell)
    shape = model_shape(cell.backbone.model_dump_json(), cell.task.kind, labels, cell.method.storage)
    sites = chosen_sites(shape.sites, cell.method)
    sizes = [(site.in_features, site.out_features) for site in sites]
    others = _other_tensors(cell, shape, sites, labels)
    start = start_rank(cell, sizes) * sum(rank_cost(cell, size) for size in sizes) if cell.method.lean else sum(others)
    rows = cell.declared_train_rows
    # Ranks at the end don't depend on the number of rows, so any number that allows a schedule serves an unknown one.
    schedule = schedule_of(cell, rows or 1000 * cell.recipe.batch_size + cell.recipe.holdout_rows, sizes)
    end = _adapter_at_end(cell, sizes, start, schedule)
    if cell.method.moves.ranks == "given":
        start = end[1]
    reserve = sum(rank_cost(cell, size) for size in sizes) if cell.method.moves.reserve else 0
    largest_adapter = max(start, end[1]) + reserve
    # Pruned ranks keep their memory until the allocation is final, so shrinking adapters are largest at the start.
    trainable = largest_adapter + sum(shape.head.values())
    rank = largest_rank(cell, sizes) if cell.method.lean else 0
    packed = cell.recipe.optimizer == "adamw8bit"
    return Prediction(
        adapter_start=start,
        adapter_end=end,
        head=shape.head,
        total=shape.total,
        base=_base_bytes(cell, shape, sites, labels),
        unpacked=shape.unpacked,
        gradients=4 * trainable,
        optimizer=2 * 4 * trainable
        if not packed
        else packed_bytes(cell, sizes, (*shape.head_tensors, *others), schedule),
        importance=_importance_bytes(cell, schedule) * largest_adapter,
        folded=4 * rank * sum(out for _, out in sizes) if cell.method.adapter == "adalora" else 0,
        gathered=4 * sum(i * o for i, o in sizes) if cell.method.gathers_gradients else 0,
        schedule=schedule if rows else None,
        sites=sites,
        rank=rank,
        largest_matrix=max(shape.packed_sizes, default=0),
    )


def label_count(cell: Cell) -> int:
    """Outputs of the task's head; 0 where the model has none."""
    return head_outputs(cell.task)


@lru_cache(maxsize=64)
def model_shape(backbone_json: str, kind: str, labels: int, storage: Storage) -> ModelShape:
    """The numbers of a backbone with a head for `labels` outputs, as `storage` holds it.

    The backbone comes as JSON because a cache needs keys that can be hashed: a study asks for the same few models once
    per cell. Raises BenchError if the backbone's file has no `config`.
    """
    backbone = Backbone.model_validate_json(backbone_json)
    model = meta_model(backbone, kind, labels, half=storage != "fp32")
    check_heads(model, backbone)
    sizes = {name: p.element_size() for name, p in model.named_parameters()}
    packed = pack_layers(model, backbone) if storage == "nf4" else {}
    unpacked: dict[str, int] = {}
    heads = head_modules(model, backbone)
    of_heads = {id(p) for name in heads for p in model.get_submodule(name).parameters()}
    for name, layer in unpacked_layers(model, packed).items() if packed else ():
        if id(layer.weight) not in of_heads:
            last = name.rsplit(".", 1)[-1]
            unpacked[last] = unpacked.get(last, 0) + layer.weight.numel()
    of_packed = {id(layer.weight) for layer in packed.values()}
    return ModelShape(
        sites=find_sites(model, backbone),
        head={name.split(".")[-1]: sum(p.numel() for p in model.get_submodule(name).parameters()) for name in heads},
        head_tensors=tuple(p.numel() for p in model.parameters() if id(p) in of_heads),
        frozen_tensors=tuple(p.numel() for p in model.parameters() if id(p) not in of_heads),
        total=sum(p.numel() for p in model.parameters()),
        packed_sizes=tuple(layer.weight.numel() for layer in packed.values()),
        unpacked=unpacked,
        # What is loaded has the type that the model's own code gave it: a few vectors of DeBERTa are always float32.
        weights=sum(
            p.numel() * sizes[name] for name, p in model.named_parameters() if id(p) not in of_heads | of_packed
        ),
        buffers=sum(b.numel() * b.element_size() for b in model.buffers()),
    )


def meta_model(backbone: Backbone, kind: str, labels: int, *, half: bool = False) -> Any:
    """The model of the backbone's config on the meta device, for a task of that `kind` with `labels` outputs.

    half: in bfloat16, apart from what the model itself keeps in float32. Raises BenchError if the backbone's file has
    no `config`.
    """
    import torch
    from transformers import AutoConfig

    if not backbone.config:
        raise BenchError(f"backbone {backbone.name!r} has no `config` in its file: its counts can't be predicted")
    options = {key: value for key, value in backbone.config.items() if key != "model_type"}
    config = AutoConfig.for_model(backbone.config["model_type"], **options)
    if KINDS[kind].has_head:
        config.num_labels = labels
    dtype = torch.bfloat16 if half else torch.float32
    with torch.device("meta"):
        model = built(config, kind, attn_implementation=backbone.attention, dtype=dtype)
        if backbone.untie_head:
            # transformers ties the head of T5 whatever its config says, but the checkpoint has a matrix of its own.
            model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    return model


def _other_tensors(cell: Cell, shape: ModelShape, sites: Sequence[AdapterSite], labels: int) -> Sequence[int]:
    """Elements of each tensor that is trained beside the heads and is no factor of an adapter of ours."""
    if cell.method.adapter == "full":
        return shape.frozen_tensors
    # What PEFT makes of the config only PEFT can say: attach it and count.
    return _peft_parameters(cell, sites, labels)[0] if cell.method.adapter == "peft" else ()


def _peft_parameters(cell: Cell, sites: Sequence[AdapterSite], labels: int) -> tuple[list[int], int]:
    """Elements of each tensor that a PEFT adapter trains beside the heads, and how many of them all are of the base's
    own parameters, such as biases.

    Raises Unpredictable if PEFT can't attach it without weights.
    """
    model = meta_model(cell.backbone, cell.task.kind, labels).requires_grad_(False)
    own = {id(p) for p in model.parameters()}
    try:
        model = attach(model, cell, sites)
    except (RuntimeError, NotImplementedError) as error:
        assert cell.method.peft is not None  # only such a method attaches PEFT's layers
        raise Unpredictable(
            f"method {cell.method.name!r}: PEFT can't attach {cell.method.peft.config} without the base's weights, so "
            f"nothing can be planned for it ({type(error).__name__})"
        ) from error
    trained = [p for name, p in model.named_parameters() if p.requires_grad and ".modules_to_save." not in name]
    return [p.numel() for p in trained], sum(p.numel() for p in trained if id(p) in own)


def _adapter_at_end(
    cell: Cell, sizes: Sequence[tuple[int, int]], start: int, schedule: RankSchedule
) -> tuple[int, int]:
    """Parameters of the adapter after the last step, at the least and at the most.

    Which matrices keep their ranks is decided in training. The bounds are reached where the schedule's ranks all go to
    the matrices that cost least, or most, per rank.
    """
    if not _ranks_change(cell, schedule) and cell.method.moves.ranks != "given":
        return start, start
    if cell.method.unit == "parameters":
        return 0, schedule.target_budget
    costs = sorted(rank_cost(cell, size) for size in sizes for _ in range(largest_rank(cell, sizes)))
    most = sum(costs[-schedule.target_budget :])
    return (start, most) if cell.method.grows else (sum(costs[: schedule.target_budget]), most)


def _ranks_change(cell: Cell, schedule: RankSchedule) -> bool:
    """Whether any rank leaves or enters during the training."""
    return schedule.prunes or cell.method.moves.ranks in ("grown", "moved")


def _importance_bytes(cell: Cell, schedule: RankSchedule) -> int:
    """Bytes that the allocator keeps per parameter of the adapter; none where it keeps no importance."""
    method = cell.method
    if not _ranks_change(cell, schedule):
        return 0
    return IMPORTANCE_BYTES[method.importance] if method.moves.averages is None else method.moves.averages


def _base_bytes(cell: Cell, shape: ModelShape, sites: Sequence[AdapterSite], labels: int) -> BaseBytes:
    """Bytes of the frozen model without its heads, as the method stores it."""
    if cell.method.adapter == "full":  # nothing is frozen
        return BaseBytes(weights=0, quantization=0, buffers=shape.buffers)
    # Two elements per byte in the packed matrices; embeddings, norms, biases and unpacked layers stay as they are.
    trained = _peft_parameters(cell, sites, labels)[1] if cell.method.adapter == "peft" else 0
    weights = shape.weights - 4 * trained + sum(math.ceil(n / 2) for n in shape.packed_sizes)
    constants = sum(_quantization_bytes(n, cell.method.double_quantization) for n in shape.packed_sizes)
    return BaseBytes(weights=weights, quantization=constants, buffers=shape.buffers)


def _quantization_bytes(elements: int, double: bool) -> int:
    """Bytes of the quantization state of one nf4 matrix with so many elements."""
    blocks = math.ceil(elements / BLOCK)
    if not double:
        return 4 * blocks + CODEBOOK
    nested_blocks = math.ceil(blocks / NESTED_BLOCK)
    return blocks + 4 * nested_blocks + CODEBOOK + NESTED_CODEBOOK + NESTED_MEAN
