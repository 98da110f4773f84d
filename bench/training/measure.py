"""Count and weigh a real model: what is frozen, what the heads hold, how the base is stored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from bench.config.cell import Cell
from bench.engine.fused_layers import ADAPTER
from bench.models.backbone import head_modules
from bench.records.schema import BaseBytes


def base_bytes(model: nn.Module) -> BaseBytes:
    """Bytes of the frozen base as stored. Heads and adapters are not in it; shared tensors count once."""
    weights = quantization = 0
    for _, parameter in _base(model):
        weights += _bytes(parameter)
        quantization += _state_bytes(getattr(parameter, "quant_state", None))
    buffers = sum(_bytes(buffer) for buffer in model.buffers())
    return BaseBytes(weights=weights, quantization=quantization, buffers=buffers)


def frozen_parameters(model: nn.Module) -> int:
    """Frozen parameters of the base; a 4-bit weight counts with the shape that it stands for."""
    return sum(_logical(parameter) for _, parameter in _base(model))


def head_parameters(model: nn.Module) -> dict[str, int]:
    """Trained parameters outside of the adapter, by the head's module (classifier, pooler, ...)."""
    heads: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not _adapter(name):
            head = name.split(".modules_to_save.")[0].rsplit(".", 1)[-1]
            heads[head] = heads.get(head, 0) + parameter.numel()
    return heads


def trained_heads(model: nn.Module, cell: Cell) -> dict[str, int]:
    """As head_parameters; where every parameter is trained, those of the backbone's heads."""
    if cell.method.adapter != "full":
        return head_parameters(model)
    heads = {name: model.get_submodule(name) for name in head_modules(model, cell.backbone)}
    return {name.rsplit(".", 1)[-1]: sum(p.numel() for p in head.parameters()) for name, head in heads.items()}


def _base(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Frozen parameters; not an adapter's constants, not the heads' untouched originals that PEFT keeps."""
    for name, parameter in model.named_parameters():
        if not (parameter.requires_grad or _adapter(name) or ".original_module." in name):
            yield name, parameter


def _adapter(name: str) -> bool:
    """PEFT puts an adapter's name into the paths of its parameters, and of the heads' copies that it trains."""
    return f".{ADAPTER}" in name and ".modules_to_save." not in name


def _logical(parameter: Any) -> int:
    state = getattr(parameter, "quant_state", None)
    return int(math.prod(state.shape) if state is not None else parameter.numel())


def _state_bytes(state: Any) -> int:
    """absmax and code of a bitsandbytes state, and what double quantization nests in it."""
    if state is None:
        return 0
    tensors = [value for value in vars(state).values() if isinstance(value, Tensor)]
    return sum(_bytes(t) for t in tensors) + _state_bytes(getattr(state, "state2", None))


def _bytes(tensor: Tensor) -> int:
    return int(tensor.numel() * tensor.element_size())
