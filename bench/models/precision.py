"""In what precision a base multiplies that is stored in less than float32.

Its products are bfloat16's where the device multiplies in that. Elsewhere (processors without such an instruction, GPUs
before Ampere) bfloat16 takes many times as long as float32 does, so each matrix is unpacked to float32 for its product;
what is stored and what flows between the layers stays as it is, and only the product's own rounding is another.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def products_in(device: str, storage: str) -> torch.dtype:
    """float32 or bfloat16: what a device of that type multiplies matrices in that are stored so (fp32, bf16, nf4). A
    GPU that is not here is taken for one that can do either."""
    if storage == "fp32":
        return torch.float32
    if device == "cuda":
        slow = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        slow = not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.float32 if slow else torch.bfloat16


def told_precision(device: str, storage: str) -> dict[str, str]:
    """The same for a record's environment."""
    return {"matmul_precision": str(products_in(device, storage)).removeprefix("torch.")}


def multiply_in_float32(model: nn.Module) -> None:
    """Let every linear layer of `model` that is stored in less multiply in float32. Adapters go on top as ever."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.weight.dtype != torch.float32:
            module.forward = MethodType(_forward, module)


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    return _Product.apply(x, layer)


class _Product(torch.autograd.Function):  # type: ignore[misc]
    """x [..., in] -> x W^T + bias, W and bias frozen, rounded once to the type of x. The unpacked W is not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Linear) -> Tensor:
        ctx.layer = layer
        bias = None if layer.bias is None else layer.bias.float()
        return functional.linear(x.float(), _unpacked(layer.weight), bias).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None
        return torch.matmul(grad.float(), _unpacked(ctx.layer.weight)).to(grad.dtype), None


def _unpacked(weight: Any) -> Tensor:
    """[out, in] in float32: of a matrix in half precision, or quantized."""
    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight.detach().float()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data.view(-1, 1), state).float()
