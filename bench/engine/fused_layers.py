"""A fused forward for PEFT's LoRA and SVD layers: the same parameters and results with half of the operations.

PEFT builds the adapter's path from single autograd operations, each with views and transposes of its own. Here one
layer is one autograd function. Its backward adds the gradients of A and B straight into the flat gradient buffer, so
that nothing is gathered or copied later. The singular values are folded into B once per step (`FlatParameters.fold`),
which makes AdaLoRA's layer cost the same as LoRA's.

The adapter's products are always float32's. The base's are those of the type that it is stored in, or under
torch.autocast of autocast's type, in the forward and in the backward pass. Autocast casts a frozen matrix anew at each
use (its cache holds trained ones alone), and autograd would keep all the copies until the backward pass. Here a copy
lives as long as its product, and the backward pass casts again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.engine.autocast import without_autocast
from bench.errors import BenchError

ADAPTER = "default"  # PEFT's own default name of an adapter


@dataclass
class SiteTensors:
    """What the layer of one site reads and writes: views of the flat buffers. r is the site's present rank.

    `a` [r, in]; `b` [r, out], which is B^T, times E where the adapter has singular values; their transposes; and the
    places of their gradients. `touched` says whether a gradient arrived since the last optimizer step. `adapter` is
    PEFT's name of the adapter. `turned`: the layer stores its weight as [in, out], as GPT-2's Conv1D does.
    """

    scale: float
    anchor: Tensor  # requires grad, so that autograd calls the backward of the first layer too
    adapter: str
    a: Tensor = field(init=False)
    b: Tensor = field(init=False)
    a_t: Tensor = field(init=False)
    b_t: Tensor = field(init=False)
    grad_a: Tensor = field(init=False)
    grad_b: Tensor = field(init=False)
    turned: bool = False
    rank: int = 0
    touched: bool = False

    def bind(self, a: Tensor, b: Tensor, grad_a: Tensor, grad_b: Tensor) -> None:
        self.a, self.b, self.grad_a, self.grad_b = a, b, grad_a, grad_b
        self.a_t, self.b_t = a.t(), b.t()
        self.rank = a.shape[0]

    def add_to(self, result: Tensor, hidden: Tensor) -> None:
        """result [n, out] += scale * hidden [n, r] @ b, in place. A half-precision result is rounded once."""
        if result.dtype == torch.float32:
            result.addmm_(hidden, self.b, alpha=self.scale)
        else:
            result.add_(torch.mm(hidden, self.b), alpha=self.scale)

    def backward(self, grad: Tensor, x: Tensor, hidden: Tensor) -> Tensor:
        """Add the gradients of A and B from one use of the layer. Returns that of `hidden` [n, r], not yet scaled."""
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
        with without_autocast(x):
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
        with without_autocast(grad):  # somebody may call `backward` under it
            grad_hidden = site.backward(grad.float(), flat.float(), hidden)
            if not ctx.needs_input_grad[0]:
                return None, None, None, None, None
            # The gradient has the type of the forward product. Under autocast x and the weight may have others.
            grad_x = torch.mm(grad, weight.to(grad.dtype)).to(flat.dtype)
            if grad_x.dtype == torch.float32:
                grad_x.addmm_(grad_hidden, site.a, alpha=site.scale)
            else:
                grad_x.add_(torch.mm(grad_hidden, site.a), alpha=site.scale)
        return grad_x.view(ctx.shape), None, None, None, None


class AddedAdapter(torch.autograd.Function):  # type: ignore[misc]
    """result [..., out] += scale * x A^T B^T, in place: for a base that computes its own product (4-bit, unpacked to
    float32), and for an adapter whose input goes through dropout."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, x: Tensor, _anchor: Tensor, site: SiteTensors) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        with without_autocast(x):
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
        with without_autocast(grad):
            grad_hidden = site.backward(grad.reshape(-1, grad.shape[-1]).float(), flat.float(), hidden)
            if not ctx.needs_input_grad[1]:
                return grad, None, None, None
            grad_x = torch.mm(grad_hidden, site.a).mul_(site.scale).to(flat.dtype)
        return grad, grad_x.view(ctx.shape), None, None


def fused_forward(layer: Any, x: Tensor, **options: Any) -> Tensor:
    """Replaces `layer.forward`. All but the one adapter of the site takes PEFT's own way, and gets no gradient there.

    That is a disabled or merged adapter, another active adapter, and PEFT's own `options` (an adapter for each row).
    """
    site: SiteTensors = layer.fused_site
    if layer.disable_adapters or layer.merged or options or layer.active_adapters != [site.adapter]:
        return type(layer).forward(layer, x, **options)
    base: nn.Module = layer.base_layer
    dropout = layer.lora_dropout[site.adapter]
    drops = layer.training and isinstance(dropout, nn.Dropout) and dropout.p > 0
    if not site.rank:
        if drops:  # drawn and thrown away: else all dropout after this layer would depend on whether its ranks left
            dropout(x.detach().float())
        return base(x)
    # A base whose forward was replaced (4-bit, or unpacked to float32 for its product) must compute its own product.
    if (type(base) is nn.Linear or site.turned) and "forward" not in vars(base) and not drops:
        weight = base.weight.t() if site.turned else base.weight
        return AdaptedLinear.apply(x, site.anchor, weight, base.bias, site)
    result = base(x)
    if result._is_view() or not result.is_contiguous():  # the adapter is added in place
        result = result.clone(memory_format=torch.contiguous_format)
    return AddedAdapter.apply(result, dropout(x.float()) if drops else x, site.anchor, site)


def keep_task_loss(model: Any) -> None:
    """Let the wrapped model's loss be the task's alone.

    PEFT's AdaLoraModel adds its regularizer to the loss, in evaluation too; the engine has a regularizer of its own. So
    the wrapper's forward becomes that of the model inside, as it is for every other PEFT method.
    """
    from peft.tuners.adalora import AdaLoraModel

    tuner = getattr(model, "base_model", None)
    if isinstance(tuner, AdaLoraModel):
        tuner.__dict__["forward"] = tuner.model.forward


def scale_of(layer: Any, adapter: str = ADAPTER) -> float:
    """What multiplies A^T B^T: alpha / r; for SVD layers alpha over PEFT's constant rank number."""
    scaling = float(layer.scaling[adapter])
    return scaling / (float(layer.ranknum[adapter].detach()) + 1e-5) if hasattr(layer, "ranknum") else scaling


def install(adapted: nn.Module, anchor: Tensor, adapter: str = ADAPTER) -> SiteTensors:
    """Give a PEFT layer the fused forward; `FlatParameters` binds its tensors.

    Raises BenchError if the module is no LoRA or SVD layer, if what it adapts is no frozen linear layer, or if it is a
    variant of LoRA (DoRA, a bias of its own) whose forward computes something else.
    """
    from peft.tuners.adalora import AdaLoraLayer
    from peft.tuners.lora import LoraLayer
    from transformers.pytorch_utils import Conv1D

    layer: Any = adapted
    if not isinstance(adapted, LoraLayer):
        raise BenchError(f"{type(adapted).__name__} is no adapter layer: attach the adapter first")
    if not isinstance(layer.base_layer, (nn.Linear, Conv1D)):
        raise BenchError(
            f"an adapter on {type(layer.base_layer).__name__} is not supported: only Linear, Linear4bit and Conv1D"
        )
    if any(p.requires_grad for p in layer.base_layer.parameters()):
        raise BenchError("the matrix under an adapter and its bias must be frozen (bias='none' in PEFT's config)")
    if not isinstance(layer, AdaLoraLayer) and (layer.lora_variant or any(layer.lora_bias.values())):
        raise BenchError("LoRA variants (DoRA, ...) and lora_bias are not supported")
    site = SiteTensors(scale_of(layer, adapter), anchor, adapter, turned=type(layer.base_layer) is Conv1D)
    layer.fused_site = site
    layer.forward = partial(fused_forward, layer)  # a bound method could not be pickled
    return site
