"""The adapters of `Branches` in plain torch: autograd, torch's AdamW, one tensor per factor. Nothing of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainAdapters:
    """A copy of what `core` trains at the moment: A [r, in], B [out, r] and, with singular values, E [r] of each site.

    The optimizer is torch's AdamW without weight decay; `rates` are the learning rates of all steps.
    """

    def __init__(self, core: Any, rates: Sequence[float]) -> None:
        base = core.model.get_base_model()
        self.shapes, self.rates, self.done = base.shapes, rates, 0
        self.weights = [(layer.base_layer.weight, layer.base_layer.bias) for layer in base.layers]
        self.scale = [site.scale for site in core.flat.sites]
        self.a: list[Tensor] = []
        self.b: list[Tensor] = []
        self.e: list[Tensor] = []
        for a, b, *e in core.flat.factors(core.flat.data.detach().clone()):
            self.a.append(leaf(a))
            self.b.append(leaf(b))
            self.e += [leaf(e[0].flatten())] if e else []
        head = base.head.modules_to_save["default"]
        self.head = [leaf(head.weight.detach()), leaf(head.bias.detach())]
        self.optimizer = torch.optim.AdamW([*self.a, *self.b, *self.e, *self.head], lr=1.0, weight_decay=0.0)

    def product(self, site: int) -> Tensor:
        """B E A [out, in], without the scale."""
        return (self.b[site] * self.e[site] if self.e else self.b[site]) @ self.a[site]

    def loss(self, batch: tuple[Tensor, Tensor], skip: Sequence[int] = ()) -> Tensor:
        x, y = batch
        parts = []
        for site, ((weight, bias), (width, out)) in enumerate(zip(self.weights, self.shapes, strict=True)):
            full = weight.detach() + self.scale[site] * self.product(site)
            part = torch.tanh(functional.linear(x[..., :width], full, bias.detach()))
            parts.append(x.new_zeros(*x.shape[:-1], out) if site in skip else part)
        outputs = functional.linear(torch.cat(parts, dim=-1), *self.head)
        return functional.cross_entropy(outputs.flatten(0, 1), y.flatten())

    def step(self, batch: tuple[Tensor, Tensor]) -> float:
        """One optimizer step with the rate of its number, kept in `rate`. Returns the loss before it."""
        self.rate = self.rates[self.done]
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.done += 1
        return float(loss.detach())

    def replace(self, old: Sequence[Tensor], new: Sequence[Tensor]) -> list[Tensor]:
        """Train `new` from now on, with fresh moments, in place of `old`."""
        leaves = [leaf(tensor) for tensor in new]
        (group,) = self.optimizer.param_groups
        gone = {id(tensor) for tensor in old}
        group["params"] = [*(p for p in group["params"] if id(p) not in gone), *leaves]
        return leaves


def leaf(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone().contiguous())
