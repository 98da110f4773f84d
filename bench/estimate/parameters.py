"""What a cell will hold, from configs alone: models are built on the meta device, which has shapes and no bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bench.config.backbone import Backbone
from bench.config.cell import Cell
from bench.config.rank_schedule import largest_rank, rank_cost, schedule_of, start_rank
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError
from bench.models.adapters import attach
from bench.models.backbone import find_sites, head_modules
from bench.models.sites import AdapterSite, chosen_sites
from bench.records.schema import BaseBytes

IMPORTANCE = {"sensitivity-uncertainty": 8, "sensitivity": 4, "magnitude": 0}  # bytes of an adapter parameter
BLOCK, NESTED_BLOCK = 64, 256  # elements that share one constant under nf4, constants that share one when nested
CODE, NESTED_CODE, OFFSET = 16 * 4, 256 * 4, 4  # bytes of the codebooks of a matrix, and of the nested mean


@dataclass(frozen=True)
class Shape:
    """A backbone with its task's head, by numbers: `linear` are the sizes of the matrices that nf4 packs, `buffers` are
    bytes."""

    sites: tuple[AdapterSite, ...]
    head: dict[str, int]
    total: int
    linear: tuple[int, ...]
    buffers: int

    @property
    def frozen(self) -> int:
        return self.total - sum(self.head.values())


@dataclass(frozen=True)
class Prediction:
    """Parameters and bytes of a cell. Ranks that move between matrices of unlike size leave the end between bounds."""

    adapter_start: int
    adapter_end: tuple[int, int]  # at the least, at the most; equal where ranks are fixed
    head: dict[str, int]
    total: int
    base: BaseBytes
    gradients: int
    optimizer: int
    importance: int
    folded: int  # copies of B times E
    schedule: RankSchedule | None  # None where the task's file doesn't declare its rows
    sites: tuple[AdapterSite, ...]
    rank: int  # of every site at the most; 0 where the adapter is not ours
    largest_matrix: int  # elements of the largest matrix that nf4 packs


def predict(cell: Cell) -> Prediction:
    """Raises BenchError where the backbone's file has no config, or the schedule can't be."""
    labels = label_count(cell)
    shape = shape_of(cell.backbone.model_dump_json(), cell.task.kind, labels, cell.method.storage != "fp32")
    sites = chosen_sites(shape.sites, cell.method)
    sizes = [(site.in_features, site.out_features) for site in sites]
    start = _adapter(cell, shape, sites, labels)
    rows = cell.declared_train_rows
    schedule = schedule_of(cell, rows or 1000 * cell.recipe.batch_size + cell.recipe.holdout_rows, sizes)
    rank = largest_rank(cell, sizes) if cell.method.lean else 0
    end = _end(cell, sizes, start, schedule)
    most = max(start, end[1]) if cell.method.grows else start
    trainable = most + sum(shape.head.values())
    return Prediction(
        adapter_start=start,
        adapter_end=end,
        head=shape.head,
        total=shape.total,
        base=_base(cell, shape),
        gradients=4 * trainable,
        optimizer=8 * trainable,
        folded=4 * rank * sum(out for _, out in sizes) if cell.method.adapter == "adalora" else 0,
        importance=_importance(cell, schedule) * most,
        schedule=schedule if rows else None,
        sites=sites,
        rank=rank,
        largest_matrix=max(shape.linear, default=0),
    )


def label_count(cell: Cell) -> int:
    """Outputs of the task's head: 1 for a regression, 0 where the model generates text and has no such head."""
    return 0 if cell.task.generates else max(1, len(cell.task.labels))


@lru_cache(maxsize=64)
def shape_of(backbone_json: str, kind: str, labels: int, half: bool) -> Shape:
    """The numbers of a backbone (given as JSON, so that they are computed once). half: loaded in bfloat16."""
    backbone = Backbone.model_validate_json(backbone_json)
    model = meta_model(backbone, kind, labels, half=half)
    heads = head_modules(model, backbone)
    head = {name.split(".")[-1]: sum(p.numel() for p in model.get_submodule(name).parameters()) for name in heads}
    skipped = [*heads, "lm_head"]
    linear = [
        module.weight.numel()
        for name, module in model.named_modules()
        if type(module).__name__ == "Linear" and not any(name == s or name.startswith(f"{s}.") for s in skipped)
    ]
    return Shape(
        sites=find_sites(model, backbone),
        head=head,
        total=sum(p.numel() for p in model.parameters()),
        linear=tuple(linear),
        buffers=sum(b.numel() * b.element_size() for b in model.buffers()),
    )


def meta_model(backbone: Backbone, kind: str, labels: int, *, half: bool = False) -> Any:
    """The model of the backbone's config on the meta device. half: in bfloat16, but for what a model keeps in float32.
    Raises BenchError where the file has no config."""
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    if not backbone.config:
        raise BenchError(f"backbone {backbone.name!r} has no `config` in its file: its counts can't be predicted")
    options = {key: value for key, value in backbone.config.items() if key != "model_type"}
    config = AutoConfig.for_model(backbone.config["model_type"], **options)
    auto = AutoModelForSeq2SeqLM
    if kind in ("classification", "regression"):
        config.num_labels = labels
        auto = AutoModelForSequenceClassification
    with torch.device("meta"):
        dtype = torch.bfloat16 if half else torch.float32
        model = auto.from_config(config, attn_implementation=backbone.attention, dtype=dtype)
        if (
            backbone.untie_head
        ):  # transformers ties T5's whatever the config says; the checkpoint's is a matrix of its own
            model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    return model


def _adapter(cell: Cell, shape: Shape, sites: Sequence[AdapterSite], labels: int) -> int:
    """Parameters at the start of what is trained beside the heads. PEFT's own adapters are attached and counted."""
    if cell.method.adapter == "full":
        return shape.frozen
    if cell.method.adapter == "peft":
        model = attach(meta_model(cell.backbone, cell.task.kind, labels).requires_grad_(False), cell, sites)
        return int(sum(p.numel() for p in model.parameters() if p.requires_grad)) - sum(shape.head.values())
    sizes = [(site.in_features, site.out_features) for site in sites]
    return start_rank(cell, sizes) * sum(rank_cost(cell, size) for size in sizes)


def _importance(cell: Cell, schedule: RankSchedule) -> int:
    """Bytes that the allocator keeps for each parameter of the adapter."""
    if cell.method.allocator == "increlora":  # whatever the method's `importance` says
        return IMPORTANCE["sensitivity-uncertainty"]
    return IMPORTANCE[cell.method.importance] if schedule.prunes else 0


def _end(cell: Cell, sizes: Sequence[tuple[int, int]], start: int, schedule: RankSchedule) -> tuple[int, int]:
    if not schedule.prunes and not cell.method.grows:
        return start, start
    if cell.method.unit == "parameters":
        return 0, schedule.target_budget
    costs = sorted(rank_cost(cell, size) for size in sizes for _ in range(largest_rank(cell, sizes)))
    most = sum(costs[-schedule.target_budget :])
    return (start, most) if cell.method.grows else (sum(costs[: schedule.target_budget]), most)


def _base(cell: Cell, shape: Shape) -> BaseBytes:
    storage = cell.method.storage
    if cell.method.adapter == "full":
        return BaseBytes(weights=0, quantization=0, buffers=shape.buffers)
    if storage != "nf4":
        return BaseBytes(weights=shape.frozen * (4 if storage == "fp32" else 2), quantization=0, buffers=shape.buffers)
    weights = sum(math.ceil(n / 2) for n in shape.linear) + 2 * (shape.frozen - sum(shape.linear))
    constants = sum(_constants(n, cell.method.double_quantization) for n in shape.linear)
    return BaseBytes(weights=weights, quantization=constants, buffers=shape.buffers)


def _constants(elements: int, double: bool) -> int:
    """Bytes of a matrix's quantization state: a float32 a block, or a byte a block and a float32 for 256 of them."""
    blocks = math.ceil(elements / BLOCK)
    if not double:
        return 4 * blocks + CODE
    return blocks + 4 * math.ceil(blocks / NESTED_BLOCK) + CODE + NESTED_CODE + OFFSET
