"""In what precision a base multiplies.

The matmuls of a base that is stored in less than float32 are bfloat16's where the device is fast at that, and so are
those under autocast. Elsewhere (processors without such an instruction, GPUs before Ampere) bfloat16 takes many times
as long as float32. There each matrix that is stored in less is unpacked to float32 for its matmul: what is stored and
what flows between the layers stays as it is, and only the rounding of the product differs. Autocast is left off there,
so that `fp32_autocast` gives what `fp32` gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.engine.autocast import autocast_device


def matmul_dtype(device: str, storage: str) -> torch.dtype:
    """float32 or bfloat16: the type in which a base stored as `storage` (fp32, fp32_autocast, bf16, nf4) multiplies on
    a device of that type. A GPU that this machine does not have is assumed to be fast at bfloat16."""
    if storage == "fp32":
        return torch.float32
    if device == "cuda":
        slow = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # torch has no public question for it; this is what its own kernels ask before they take oneDNN's bfloat16.
        # Where torch is built without oneDNN (macOS on ARM) there is no such operator.
        supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        slow = supported is None or not supported()
    return torch.float32 if slow else torch.bfloat16


def matmul_precision(device: str, storage: str) -> str:
    """The name of `matmul_dtype` for a record's environment: 'float32' or 'bfloat16'."""
    return str(matmul_dtype(device, storage)).removeprefix("torch.")


def use_autocast(model: Any, heads: Iterable[nn.Module]) -> None:
    """Let `model`, whose weights are float32, run its forward passes under torch.autocast in bfloat16; not its `heads`.

    The backward pass multiplies each matrix in the type of its forward pass, as autograd recorded it. What accelerate
    does for Trainer's `bf16: true` is the same, but for the heads. An encoder is called by itself before a text is
    generated, so it has autocast of its own.
    """
    device = autocast_device(next(model.parameters()))
    for part in [model, *([model.get_encoder()] if model.config.is_encoder_decoder else [])]:
        part.forward = MethodType(torch.autocast(device, torch.bfloat16)(type(part).forward), part)
    for head in heads:
        head.forward = MethodType(torch.autocast(device, enabled=False)(type(head).forward), head)


def multiply_in_float32(model: nn.Module) -> None:
    """Let every linear layer of `model` that is stored in less than float32 multiply in float32, GPT-2's Conv1D too.

    Weights keep their names and their storage, so adapters can be attached before or after.
    """
    from transformers.pytorch_utils import Conv1D

    for name, module in list(model.named_modules()):
        if not isinstance(module, (nn.Linear, Conv1D)) or module.weight.dtype == torch.float32:
            continue
        if type(module) is nn.Linear:
            model.set_submodule(name, Float32Linear(module))
        else:
            # The Linear4bit of bitsandbytes and Conv1D can't be replaced: PEFT chooses the adapter's layer by these
            # classes and reads their attributes. Hooks would not do: the layer's own matmul would still run.
            module.forward = MethodType(_float32_matmul, module)


class Float32Linear(nn.Linear):  # type: ignore[misc]
    """x [..., in] -> x W^T + bias [..., out] of a frozen layer in half precision, multiplied in float32.

    It shares weight and bias with `layer`. The result has the type of x.
    """

    def __init__(self, layer: nn.Linear) -> None:
        # On the meta device nothing is allocated and no random number is drawn.
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        return _float32_matmul(self, x)


def _float32_matmul(layer: nn.Linear, x: Tensor) -> Tensor:
    result: Tensor = _Float32Matmul.apply(x, layer)
    return result


class _Float32Matmul(torch.autograd.Function):  # type: ignore[misc]
    """x [..., in] -> x W^T + bias [..., out], rounded once to the type of x, with W and bias frozen.

    W is unpacked again in the backward pass. Autograd would keep the unpacked matrices of all layers instead, and they
    take more memory than the model itself.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Linear) -> Tensor:
        ctx.layer = layer
        bias = None if layer.bias is None else layer.bias.float()
        return functional.linear(x.float(), unpacked(layer), bias).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:
        if not ctx.needs_input_grad[0]:  # the first layer: below it everything is frozen
            return None, None
        return torch.matmul(grad.float(), unpacked(ctx.layer)).to(grad.dtype), None


def unpacked(layer: Any) -> Tensor:
    """[out, in] in float32, from a matrix in half precision or one that bitsandbytes quantized."""
    weight = layer.weight
    quant_state = getattr(weight, "quant_state", None)
    if quant_state is None:
        matrix = weight.detach().float()
        return matrix if isinstance(layer, nn.Linear) else matrix.t()  # Conv1D stores it as [in, out]
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data.view(-1, 1), quant_state).float()
