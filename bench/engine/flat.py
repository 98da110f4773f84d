"""All trainable parameters of a model in one flat float32 buffer, and their gradients in another.

The modules keep their parameters, which become views of the buffer. What an optimizer step does to every parameter
(clip, AdamW, importance, zero) is then a handful of operations on long vectors instead of a handful per tensor, of
which a model has hundreds. Order in the buffer: rows of A and B^T by length (`Layout`), singular values, matrices of
the heads, vectors of the heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.engine.carry import carry
from bench.engine.fused_layers import ADAPTER, install, keep_task_loss
from bench.engine.layout import Kept, Layout, Site
from bench.engine.trainable import check_trainable
from bench.errors import BenchError


@dataclass(frozen=True)
class _Product:
    """The product E B of one block, which the layers read in place of B.

    b: B^T [rows, length]; folded: its rows times E [rows, length]; grad: the gradient with respect to `folded`, in the
    place of B's; singular: E [rows]; grad_singular: its gradient [rows]; triplets: which triplets these rows are.
    """

    b: Tensor
    folded: Tensor
    grad: Tensor
    singular: Tensor
    grad_singular: Tensor
    triplets: slice


class FlatParameters:
    """The buffers `data` and `grad` [elements] of `model`, whose adapters sit at `sites`.

    Whatever else is trainable stands behind the adapters and is called `head`; without sites that is everything.
    `rows` and `grad_rows` hold one view [rows, length] per block of the layout; `singular` and `grad_singular` are the
    values E [triplets]. Gradients of B arrive as those of the product E B; `unfold_gradients` turns them into E's and
    B's. `adapter` is PEFT's name of the adapter.

    Raises BenchError if a site has no adapter that the fused layers can compute, if nothing is trainable, or if one
    buffer can't stand for what is (see `check_trainable`).
    """

    def __init__(self, model: Any, sites: Sequence[Site], adapter: str = ADAPTER) -> None:
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._adapter = adapter
        self.masked = False  # whether the layers see fewer ranks than are trained
        self._layers = [base.get_submodule(site.name) for site in sites]
        self.device = next(base.parameters()).device
        # One tensor for all layers: it makes autograd call their backward although A and B are no inputs of theirs.
        anchor = torch.zeros((), device=self.device, requires_grad=True)
        self.sites = [install(layer, anchor, adapter) for layer in self._layers]
        keep_task_loss(model)
        svd = any(hasattr(layer, "lora_E") for layer in self._layers)
        for layer in self._layers:
            if svd:
                # A constant, which PEFT trains if the base is in half precision or not on the CPU.
                layer.ranknum[adapter].requires_grad_(False)
        factors = [tuple(_parameter(layer, name, adapter) for name in _names(svd)) for layer in self._layers]
        of_adapter = {id(parameter) for group in factors for parameter in group}
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad and id(p) not in of_adapter]
        if not factors and not named:
            raise BenchError("no adapted matrix: nothing to train")
        active = any(adapter in layer.active_adapters for layer in self._layers)
        check_trainable(adapter, (p for group in factors for p in group), named, self.device, active=active)
        # Matrices first, so that weight decay covers one slice of the buffer, and biases and norms lie behind it.
        self.head = [p for _, p in named if p.ndim > 1] + [p for _, p in named if p.ndim <= 1]
        self.head_names = [n for n, p in named if p.ndim > 1] + [n for n, p in named if p.ndim <= 1]
        self._parameters = factors
        self._head_matrices = int(sum(p.numel() for p in self.head if p.ndim > 1))
        self._head_elements = int(sum(p.numel() for p in self.head))

        layout = Layout.initial(sites, [group[0].shape[0] for group in factors], svd)
        # Copied before the buffer is bound, which replaces the storage of every parameter.
        values = [[parameter.detach().float() for parameter in group] for group in factors]
        heads = [parameter.detach().clone() for parameter in self.head]
        self._allocate(layout)
        with torch.no_grad():
            for views, old in zip(self.factors(self.data), values, strict=True):
                for view, value in zip(views, old, strict=True):
                    view.copy_(value)
            for view, head in zip(self._head_views(self.data), heads, strict=True):
                view.copy_(head)
        self._bind()

    @property
    def decayed(self) -> int:
        """Elements under weight decay, from the start of the buffer: all but the heads' vectors (biases, norms)."""
        return self.layout.adapter_elements + self._head_matrices

    @property
    def elements(self) -> int:
        return self.layout.adapter_elements + self._head_elements

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def fold(self, mask: Tensor | None = None) -> None:
        """Let the layers see the present E and B. Must be called after anything that changes them.

        mask [triplets]: ranks that the layers shall not see, where it is false.
        """
        self.masked = mask is not None
        for part in self._products:
            singular = part.singular if mask is None else part.singular * mask[part.triplets]
            torch.mul(part.b, singular.unsqueeze(1), out=part.folded)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def unfold_gradients(self) -> None:
        """Turn the gradients of the products E B into those of E and of B, by the product rule.

        E's gradient is the product's gradient times B, summed over each row; B's is the product's gradient times E.
        """
        # E's gradient needs the product's before B's overwrites it.
        for part in self._products:
            torch.sum(part.grad * part.b, dim=1, out=part.grad_singular)
            part.grad.mul_(part.singular.unsqueeze(1))

    def folded_bytes(self) -> int:
        """Bytes of the copies of B times E."""
        return sum(part.folded.numel() * part.folded.element_size() for part in self._products)

    def zero_gradients(self) -> None:
        self.grad.zero_()
        for site in self.sites:
            site.touched = False

    def untouched(self) -> list[slice]:
        """The parts of the buffer whose adapters got no gradient since the last step: branches that were skipped."""
        return [
            part
            for index, site in enumerate(self.sites)
            if site.rank and not site.touched
            for part in self.elements_of(index)
        ]

    def check_gradients(self) -> None:
        """Raises BenchError if the gradient of a head is no view of the buffer any more (`zero_grad` takes it out), or
        if an adapter's gradient came through PEFT's own forward, which does not add it to the buffer.
        """
        for name, parameter, view in zip(self.head_names, self.head, self._head_grads, strict=True):
            if parameter.grad is not view:
                raise BenchError(f"the gradient of {name} was replaced: only the core may clear gradients")
        if any(parameter.grad is not None for group in self._parameters for parameter in group):
            raise BenchError("an adapter was trained through PEFT's own forward: let it be the only active adapter")

    def gather_gradients(self) -> None:
        """Bring the heads' gradients back into the buffer after somebody else's `zero_grad` took them out."""
        for parameter, view in zip(self.head, self._head_grads, strict=True):
            if parameter.grad is not view:
                if parameter.grad is not None:
                    view.copy_(parameter.grad)
                parameter.grad = view

    def check_views(self) -> None:
        """Raises BenchError if a parameter was moved out of the buffer (`model.to` does it) or replaced."""
        for layer, group in zip(self._layers, self._parameters, strict=True):
            current = [_parameter(layer, name, self._adapter) for name in _names(self.layout.svd)]
            if any(one is not other for one, other in zip(current, group, strict=True)):
                raise BenchError("the adapter's parameters were replaced since the training core was made")
        first, last = self.data.data_ptr(), self.data.data_ptr() + self.data.numel() * self.data.element_size()
        for parameter in (*(p for group in self._parameters for p in group), *self.head):
            if parameter.numel() and not first <= parameter.data_ptr() < last:
                raise BenchError("the model's parameters were moved: put the model on its device first")

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def rejoin(self) -> None:
        """Take the parameters back into the buffer, with their values, where `copy.deepcopy` has put them outside."""
        if not self.sites or self._parameters[0][0].data_ptr() == self.sites[0].a.data_ptr():
            return
        for views, group in zip(self.factors(self.data), self._parameters, strict=True):
            for view, parameter in zip(views, group, strict=True):
                view.copy_(parameter)
        for view, parameter in zip(self._head_views(self.data), self.head, strict=True):
            view.copy_(parameter)
        self._bind()

    def elements_of(self, site: int) -> list[slice]:
        """The parts of the buffer that hold A, B^T and E of a site."""
        parts = []
        for block in self.layout.blocks:
            for factor in block.factors:
                if factor.site == site:
                    start = block.offset + factor.start * block.length
                    parts.append(slice(start, start + factor.rows * block.length))
        if self.layout.svd:
            first = self.layout.row_elements + self.layout.first_triplets[site]
            parts.append(slice(first, first + self.layout.ranks[site]))
        return parts

    def rebuild(self, kept: Kept) -> Layout:
        """Hold the ranks `kept` from now on: parameters keep their values, new ranks and all gradients are zero.

        Returns the layout before, which `carry` needs to move optimizer moments and averages along.
        """
        old, data = self.layout, self.data
        layout = Layout(old.sites, kept, old.svd)
        self._allocate(layout, carry(data, old, layout))
        self._bind()
        return old

    def reshape(self, kept: Kept) -> None:
        """Make room for the ranks `kept`, values unset, for a checkpoint that is about to be loaded."""
        if kept != self.layout.kept:
            self._allocate(Layout(self.layout.sites, kept, self.layout.svd))
            self._bind()

    def _allocate(self, layout: Layout, data: Tensor | None = None) -> None:
        self.layout = layout
        self.data = torch.zeros(self.elements, device=self.device) if data is None else data
        self.grad = torch.zeros_like(self.data)
        self.rows = [self.data[b.offset : b.end].view(b.rows, b.length) for b in layout.blocks]
        self.grad_rows = [self.grad[b.offset : b.end].view(b.rows, b.length) for b in layout.blocks]
        triplets = slice(layout.row_elements, layout.adapter_elements)
        self.singular, self.grad_singular = self.data[triplets], self.grad[triplets]
        self._products = []
        for block, rows, grad_rows in zip(layout.blocks, self.rows, self.grad_rows, strict=True):
            b, grad = rows[block.first_b :], grad_rows[block.first_b :]
            part = slice(block.first_triplet, block.first_triplet + len(b))
            if layout.svd:
                self._products.append(
                    _Product(b, torch.empty_like(b), grad, self.singular[part], self.grad_singular[part], part)
                )

    def _bind(self) -> None:
        """Make the parameter of every module a view of the buffer, and give the layers their tensors."""
        views, grads = self.factors(self.data), self.factors(self.grad)
        for site, layer, parameters, view, grad in zip(
            self.sites, self._layers, self._parameters, views, grads, strict=True
        ):
            for parameter, value in zip(parameters, view, strict=True):
                # The module keeps its Parameter object, so that state_dict, PEFT and the user see the trained values.
                # Its own gradient stays empty: the fused backward adds to the buffer.
                parameter.grad = None
                parameter.data = value
            layer.r[self._adapter] = view[0].shape[0]
            site.bind(view[0], view[1].t(), grad[0], grad[1].t())
        # With singular values the layers read E B in place of B; without them there are no products to bind.
        for block, product in zip(self.layout.blocks, self._products, strict=False):
            for factor in block.factors:
                if factor.kind == "B":
                    site, start = self.sites[factor.site], factor.start - block.first_b
                    site.bind(site.a, product.folded[start : start + factor.rows], site.grad_a, site.grad_b)
        self._head_grads = self._head_views(self.grad)
        for parameter, value, grad in zip(self.head, self._head_views(self.data), self._head_grads, strict=True):
            parameter.data, parameter.grad = value, grad
        self.fold()

    def factors(self, flat: Tensor) -> list[tuple[Tensor, ...]]:
        """Views of `flat` per site: A [r, in], B [out, r] and, with singular values, E [r, 1]."""
        by_site: list[dict[str, Tensor]] = [
            {"A": flat.new_empty(0, site.in_features), "B": flat.new_empty(0, site.out_features)}
            for site in self.layout.sites
        ]
        for block in self.layout.blocks:
            rows = flat[block.offset : block.end].view(block.rows, block.length)
            for factor in block.factors:
                by_site[factor.site][factor.kind] = rows[factor.start : factor.start + factor.rows]
        views = [(pair["A"], pair["B"].t()) for pair in by_site]
        if not self.layout.svd:
            return list(views)
        singular = flat[self.layout.row_elements : self.layout.adapter_elements].unsqueeze(1)
        parts = zip(views, self.layout.first_triplets, self.layout.ranks, strict=True)
        return [(*pair, singular[first : first + rank]) for pair, first, rank in parts]

    def _head_views(self, flat: Tensor) -> list[Tensor]:
        views, offset = [], self.layout.adapter_elements
        for parameter in self.head:
            views.append(flat[offset : offset + parameter.numel()].view(parameter.shape))
            offset += parameter.numel()
        return views


def _names(svd: bool) -> tuple[str, ...]:
    return ("lora_A", "lora_B", "lora_E") if svd else ("lora_A", "lora_B")


def _parameter(layer: Any, name: str, adapter: str) -> nn.Parameter:
    factor = getattr(layer, name)[adapter]  # AdaLoRA keeps parameters here, LoRA keeps linear layers
    return factor if isinstance(factor, nn.Parameter) else factor.weight
