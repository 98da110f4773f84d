"""Ranks and first values from gradients of the pretrained weights: GoRA (He et al. 2025, NeurIPS, arXiv 2502.12171).

Before the training the gradient G of the task's loss with respect to each frozen matrix W is averaged over batches. A
matrix matters as much as the mean of |W * G|, and ranks are in proportion to that. A keeps its draw, and B starts such
that the first update is a step of gradient descent, as far as A can hold it:

    B = -(1 / s) gamma sqrt(in / r) G A^+,      s B A = -gamma sqrt(in / r) G A^+ A

where s is the scale of the adapter and A^+ the pseudo-inverse of A [r, in]. A draw of r rows holds about the fraction
sqrt(r / in) of the norm of G, for which the root makes up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.config.cell import Cell
from bench.config.rank_schedule import largest_rank, rank_cost
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.engine.fused_layers import ADAPTER
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError
from bench.models.precision import unpacked
from bench.models.shares import afforded, in_turn
from bench.models.sites import AdapterSite


def mean_gradients(
    model: Any,
    sites: Sequence[AdapterSite],
    batches: Iterable[Any],
    loss: Callable[[Any], Tensor],
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> dict[str, Tensor]:
    """The gradient of the sum of `loss` over `batches` with respect to the weight of each site, by its name.

    `model` is the bare pretrained model, all of it frozen; it stays as it is, whatever its weights are stored in. Each
    gradient is [out_features, in_features] in float32 on the CPU, 4 bytes per element of the matrices. `batches` are
    this process's; the sums are over all processes.
    """
    totals = {site.name: torch.zeros(site.out_features, site.in_features) for site in sites}
    with _gathering(model, totals):
        for batch in batches:
            loss(batch).backward()
    for total in totals.values():
        process_group.all_reduce_sum(total)
    return totals


@torch.no_grad()  # type: ignore[untyped-decorator]
def importance(model: Any, gradients: Mapping[str, Tensor]) -> list[float]:
    """The mean of |W * G| of each matrix whose gradient is given; a weight in 4 bits is unpacked for it."""
    found = []
    for name, gradient in gradients.items():
        weight = unpacked(model.get_submodule(name)).cpu()
        found.append(float((weight * gradient).abs().mean(dtype=torch.float64)))
    return found


def gora_ranks(
    cell: Cell, sites: Sequence[AdapterSite], importances: Sequence[float], schedule: RankSchedule
) -> tuple[int, ...]:
    """The rank of each of `sites` within the budget of `schedule`, in proportion to importance / sqrt(in + out).

    No rank is below the share `least` of the average rank, and none above `largest_rank`. Raises BenchError if a loss
    or a gradient was not finite.
    """
    assert cell.method.pattern is not None
    assert cell.method.pattern.gradients is not None
    shapes = [(site.in_features, site.out_features) for site in sites]
    costs = [rank_cost(cell, shape) if cell.method.unit == "parameters" else 1 for shape in shapes]
    if not all(map(math.isfinite, importances)):
        raise BenchError(f"{cell.id}: GoRA found gradients of the pretrained weights that are not finite")
    shares = [importance / math.sqrt(sum(shape)) for importance, shape in zip(importances, shapes, strict=True)]
    least = math.floor(cell.method.pattern.gradients.least * schedule.target_budget / sum(costs))
    order = in_turn(shares, largest_rank(cell, shapes), least=least, offset=0.5)
    return afforded(order, costs, schedule.target_budget)


@torch.no_grad()  # type: ignore[untyped-decorator]
def load_compressed(peft_model: Any, gradients: Mapping[str, Tensor], ranks: Mapping[str, int], gamma: float) -> None:
    """Let the first columns of B of each site, as many as its rank, start from its gradient [out, in] and its A."""
    base = peft_model.get_base_model()
    for name, gradient in gradients.items():
        layer, rank = base.get_submodule(name), ranks[name]
        if not rank:
            continue
        a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        held = gradient.double() @ torch.linalg.pinv(a[:rank].detach().cpu().double())
        factor = -gamma * math.sqrt(gradient.shape[1] / rank) / layer.scaling[ADAPTER]
        b[:, :rank] = (factor * held).to(b.device, b.dtype)


@contextmanager
def _gathering(model: Any, totals: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, a backward pass through `model` adds the gradient of each matrix that `totals` name to its total."""
    anchor = torch.zeros((), device=next(model.parameters()).device, requires_grad=True)
    handles = [
        model.get_submodule(name).register_forward_hook(partial(_watch, anchor, total))
        for name, total in totals.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch(anchor: Tensor, total: Tensor, _layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    watched: Tensor = _Watched.apply(output, inputs[0].detach(), anchor, total)
    return watched


class _Watched(torch.autograd.Function):  # type: ignore[misc]
    """The output y = x W^T of a layer, unchanged; its backward adds the weight's gradient dy^T x to `total`.

    The weight itself needs no gradient, so that it may be stored in 4 bits. `anchor` makes autograd come here although
    nothing below is trained. x is saved the way that checkpointing knows.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, x: Tensor, anchor: Tensor, total: Tensor) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(x)
        ctx.total = total
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        total, outputs, inputs = ctx.total, grad.flatten(0, -2).float(), x.flatten(0, -2).float()
        if outputs.device == total.device:
            total.addmm_(outputs.t(), inputs)
        else:
            total += (outputs.t() @ inputs).to(total.device)
        return grad if ctx.needs_input_grad[0] else None, None, None, None
