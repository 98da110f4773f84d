"""What an allocator promises about how many ranks there are: the budget is kept, and every count is exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from helpers.toy_models import loss_of
from registry_cases import STEPS, Case, advance, data_of, demand

from bench.engine.fused_layers import ADAPTER

TROUBLES = ("plain", "zero", "ones", "huge", "tiny", "nan", "infinite", "skipped")


def accumulate(core: Any, batch: Any, trouble: str, seed: int) -> None:
    """A backward pass whose gradient is what `trouble` says.

    zero, ones: all elements tie. huge, tiny: random signs at the ends of float32. skipped: two matrices get none.
    """
    factor = {"zero": 0.0, "ones": 0.0, "huge": 0.0, "tiny": 0.0, "nan": math.nan, "infinite": math.inf}.get(
        trouble, 1.0
    )
    core.accumulate(factor * loss_of(core.model, batch, skip=(0, 2) if trouble == "skipped" else ()))
    if trouble == "ones":
        core.flat.grad.fill_(1.0)
    if trouble in ("huge", "tiny"):
        noise = torch.randn(core.flat.grad.shape, generator=torch.Generator().manual_seed(seed))
        core.flat.grad.copy_(noise * (1e18 if trouble == "huge" else 1e-30))


def check_budget(case: Case, troubles: Sequence[str] = (), **options: Any) -> None:
    """The live ranks, or parameters, are never above the cap, whatever the gradients are.

    Ranks that are not pruned are within it at every step. Pruned ranks are within the schedule's budget wherever a mask
    is in force, and within the target from the freeze on. Once an allocator says that it is frozen, nothing changes.
    troubles: of each step in turn, as `accumulate` knows them; options: of `StepOptions`.
    """
    core, frozen = case.core(**options), None
    schedule, motion = core.schedule, case.facts.ranks
    for step, batch in enumerate([None, *data_of(case)]):
        if batch is not None:
            accumulate(core, batch, troubles[step % len(troubles)] if troubles else "plain", step)
            advance(core)
        limit = schedule.budget(step)
        if motion == "pruned" and core.budget_mask() is None and step < schedule.freezes_at:
            limit = schedule.initial_budget  # an allocator that cuts once may keep all ranks until then
        elif motion != "pruned":
            limit = schedule.target_budget
        masks, live = core.masks(), list(core.live_ranks().values())
        used = case.used(live)
        demand(used <= limit, case, f"{used} {case.unit} live after step {step}, the budget is {limit}: ranks {live}")
        held = case.used(core.flat.layout.ranks)
        cap = schedule.initial_budget if motion == "pruned" else schedule.target_budget
        if case.facts.reserve and not core.allocator.frozen:  # a rank of each matrix that trains and does not count
            cap += sum(case.costs)
        demand(held <= cap, case, f"{held} {case.unit} are held after step {step}, the cap is {cap}")
        demand(frozen in (None, masks), case, f"ranks changed at step {step}, after it said that they are frozen")
        if core.allocator.frozen:
            frozen = masks
    done = motion != "pruned" or core.allocator.frozen
    demand(done, case, f"it does not say that ranks are frozen after step {STEPS}, the last one")


def check_counts(case: Case) -> None:
    """Masks, live ranks, parameters and the layout agree with one another and with the tensors in the modules."""
    core = case.core()
    _check_counts_now(case, core)
    for batch in data_of(case):
        core.accumulate(loss_of(core.model, batch))
        advance(core)
        _check_counts_now(case, core)
    for site, mask in core.masks().items():
        idle = sum(mask) - sum(_alive(core, site))
        demand(idle == 0, case, f"{idle} ranks of {site} are counted as live at the end, but their tensors are zero")
    if case.compact and case.facts.ranks == "pruned":
        held, live = core.trainable_parameters()["adapter"], core.live_parameters()
        demand(held == live, case, f"{held} parameters are held at the end though compacted, {live} are live")


def check_nf4(case: Case) -> None:
    """On a base of 4-bit matrices the training works, the budget is kept and counts are exact."""
    packed = replace(case, packed=True)
    try:
        check_budget(packed)
        check_counts(packed)
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{packed}: its training fails with {type(error).__name__}: {error}") from error


def _check_counts_now(case: Case, core: Any) -> None:
    step, layout = f"after step {core.completed}", core.flat.layout
    masks, live = core.masks(), core.live_ranks()
    for site, initial, kept in zip(layout.sites, core.initial_ranks, layout.kept, strict=True):
        mask, modules = masks[site.name], _factors(core, site.name)
        sizes = {tensor.shape[axis] for tensor, axis in zip(modules, (0, 1, 0), strict=False)}
        demand(sizes == {len(kept)}, case, f"{site.name} holds {kept} {step}, its tensors are of rank {sizes}")
        demand(len(mask) == initial, case, f"{site.name} had {initial} ranks, its mask {step} has {len(mask)}")
        marked = [rank for rank, lives in enumerate(mask) if lives]
        demand(set(marked) <= set(kept), case, f"{site.name} has live ranks {marked} {step}, it holds only {kept}")
        demand(live[site.name] == len(marked), case, f"{site.name} counts {live[site.name]} live ranks of {marked}")
        with core.budget_view():
            alive = {rank for rank, lives in zip(kept, _alive(core, site.name), strict=True) if lives}
        demand(alive <= set(marked), case, f"{site.name}: ranks {alive} are not zero {step}, {marked} are live")
    per_rank = [i + o + case.svd for i, o in case.shapes]
    want = sum(live[site.name] * cost for site, cost in zip(layout.sites, per_rank, strict=True))
    demand(core.live_parameters() == want, case, f"{core.live_parameters()} live parameters {step}, counted: {want}")
    trained = [(name, p.numel()) for name, p in core.model.named_parameters() if p.requires_grad]
    want_held = {
        "adapter": sum(size for name, size in trained if "lora_" in name),
        "head": sum(size for name, size in trained if "lora_" not in name),
    }
    held = core.trainable_parameters()
    demand(held == want_held, case, f"{held} are trainable {step}, counted in the modules: {want_held}")


def _factors(core: Any, site: str) -> list[torch.Tensor]:
    """A, B and, where there are any, the singular values, as the module holds them."""
    layer = core.model.get_base_model().get_submodule(site)
    found = [getattr(layer, name)[ADAPTER] for name in ("lora_A", "lora_B", "lora_E") if hasattr(layer, name)]
    return [factor if isinstance(factor, torch.nn.Parameter) else factor.weight for factor in found]


def _alive(core: Any, site: str) -> list[bool]:
    """For each rank that the module of `site` holds, whether all of its factors have a value that is not zero."""
    a, b, *singular = _factors(core, site)
    return [
        bool(a[rank].any() and b[:, rank].any() and all(values[rank].any() for values in singular))
        for rank in range(a.shape[0])
    ]
