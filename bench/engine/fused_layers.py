"""A lean forward for PEFT's LoRA and SVD layers: same parameters and results, half of the operations.

PEFT builds the adapter's path from single autograd operations, each with views and transposes of its own. Here a layer
is one autograd function. Its backward adds the gradients of A and B straight into the flat gradient buffer, so nothing
is gathered or copied later. The singular values are folded into B once a step (`FlatParameters.fold`), which makes
AdaLoRA's layer the same work as LoRA's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import BenchError
from bench.models.precision import multiplies_as_stored

ADAPTER = "default"  # the one adapter name; PEFT matches names by substring, a fixed one can't collide


@dataclass
class SiteTensors:
    """What one layer reads and writes: views into the flat buffers, with r the site's rank.

    `a` [r, in], `b` [r, out] (B^T, times E where the adapter has singular values), their transposes, and the places
    of their gradients. `touched` says whether a gradient arrived since the last optimizer step.
    """

    scale: float
    anchor: Tensor  # requires grad, so that autograd calls the backward of the first layer too
    a: Tensor = field(init=False)
    b: Tensor = field(init=False)
    a_t: Tensor = field(init=False)
    b_t: Tensor = field(init=False)
    grad_a: Tensor = field(init=False)
    grad_b: Tensor = field(init=False)
    rank: int = 0
    touched: bool = False

    def bind(self, a: Tensor, b: Tensor, grad_a: Tensor, grad_b: Tensor) -> None:
        self.a, self.b, self.grad_a, self.grad_b = a, b, grad_a, grad_b
        self.a_t, self.b_t = a.t(), b.t()
        self.rank = a.shape[0]

    def add_to(self, result: Tensor, hidden: Tensor) -> None:
        """result [n, out] += scale * hidden [n, r] @ b, in place; a half-precision result is rounded once."""
        if result.dtype == torch.float32:
            result.addmm_(hidden, self.b, alpha=self.scale)
        else:
            result.add_(torch.mm(hidden, self.b), alpha=self.scale)

    def backward(self, grad: Tensor, x: Tensor, hidden: Tensor) -> Tensor:
        """Add one use's gradients of A and B; that by `hidden` [n, r] comes back, unscaled."""
        grad_hidden = torch.mm(grad, self.b_t)
        self.grad_b.addmm_(hidden.t(), grad, alpha=self.scale)
        self.grad_a.addmm_(grad_hidden.t(), x, alpha=self.scale)
        self.touched = True
        return grad_hidden


class AdaptedLinear(torch.autograd.Function):  # type: ignore[misc]
    """x [..., in] -> x W^T + bias + scale * x A^T B^T, with W and bias frozen. x is kept once, as it came."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _anchor: Tensor, weight: Tensor, bias: Tensor | None, site: SiteTensors) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        result = functional.linear(flat, weight, bias)
        hidden = torch.mm(flat.float(), site.a_t)
        site.add_to(result, hidden)
        ctx.save_for_backward(flat, hidden, weight)
        ctx.site, ctx.shape = site, x.shape
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        flat, hidden, weight = ctx.saved_tensors
        site: SiteTensors = ctx.site
        grad = grad.reshape(-1, grad.shape[-1])
        grad_hidden = site.backward(grad.float(), flat.float(), hidden)
        if not ctx.needs_input_grad[0]:
            return None, None, None, None, None
        grad_x = torch.mm(grad, weight)
        if grad_x.dtype == torch.float32:
            grad_x.addmm_(grad_hidden, site.a, alpha=site.scale)
        else:
            grad_x.add_(torch.mm(grad_hidden, site.a), alpha=site.scale)
        return grad_x.view(ctx.shape), None, None, None, None


class AddedAdapter(torch.autograd.Function):  # type: ignore[misc]
    """result [..., out] += scale * x A^T B^T, in place: over a base that is unpacked, and where x is dropped out."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, x: Tensor, _anchor: Tensor, site: SiteTensors) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        hidden = torch.mm(flat.float(), site.a_t)
        site.add_to(result.view(-1, result.shape[-1]), hidden)
        ctx.mark_dirty(result)
        ctx.save_for_backward(flat, hidden)
        ctx.site, ctx.shape = site, x.shape
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        flat, hidden = ctx.saved_tensors
        site: SiteTensors = ctx.site
        grad_hidden = site.backward(grad.reshape(-1, grad.shape[-1]).float(), flat.float(), hidden)
        if not ctx.needs_input_grad[1]:
            return grad, None, None, None
        grad_x = torch.mm(grad_hidden, site.a).mul_(site.scale).to(flat.dtype)
        return grad, grad_x.view(ctx.shape), None, None


def lean_forward(layer: Any, x: Tensor) -> Tensor:
    """Takes the place of `layer.forward`. A disabled or merged adapter goes PEFT's way, and has no gradient there."""
    site: SiteTensors = layer.lean
    if layer.disable_adapters or layer.merged:
        return type(layer).forward(layer, x)
    base: nn.Module = layer.base_layer
    if not site.rank:
        return base(x)
    dropout = layer.lora_dropout[ADAPTER]
    drops = layer.training and isinstance(dropout, nn.Dropout) and dropout.p > 0
    if type(base) is nn.Linear and multiplies_as_stored(base) and not drops:
        return AdaptedLinear.apply(x, site.anchor, base.weight, base.bias, site)
    result = base(x)
    if result._is_view() or not result.is_contiguous():
        result = result.clone(memory_format=torch.contiguous_format)
    return AddedAdapter.apply(result, dropout(x.float()) if drops else x, site.anchor, site)


def keep_task_loss(model: Any) -> None:
    """Make the wrapped model's loss the task's alone: PEFT's AdaLoraModel adds its regularizer, in evaluation too."""
    from peft.tuners.adalora import AdaLoraModel

    tuner = getattr(model, "base_model", None)
    if isinstance(tuner, AdaLoraModel):
        tuner.__dict__["forward"] = tuner.model.forward


def scale_of(layer: Any) -> float:
    """What multiplies A^T B^T: alpha / r, for SVD layers alpha over PEFT's constant rank number."""
    scaling = float(layer.scaling[ADAPTER])
    return scaling / (float(layer.ranknum[ADAPTER].detach()) + 1e-5) if hasattr(layer, "ranknum") else scaling


def install(adapted: nn.Module, anchor: Tensor) -> SiteTensors:
    """Give a PEFT layer the lean forward; the tensors are bound by the flat parameters. Raises BenchError."""
    from peft.tuners.adalora import AdaLoraLayer
    from peft.tuners.lora import LoraLayer

    layer: Any = adapted
    if not isinstance(adapted, LoraLayer):
        raise BenchError(f"{type(adapted).__name__} is no adapter layer: attach the adapter first")
    if not isinstance(layer.base_layer, nn.Linear):
        raise BenchError(
            f"an adapter on {type(layer.base_layer).__name__} is not supported: only Linear and Linear4bit"
        )
    if any(p.requires_grad for p in layer.base_layer.parameters()):
        raise BenchError("the matrix under an adapter must be frozen")
    if not isinstance(layer, AdaLoraLayer) and (layer.lora_variant or any(layer.lora_bias.values())):
        raise BenchError("LoRA variants (DoRA, ...) and lora_bias are not supported")
    site = SiteTensors(scale_of(layer), anchor)
    layer.lean = site
    layer.forward = MethodType(lean_forward, layer)
    return site
