"""What an allocator promises about the model's outputs: new ranks change none, and pruned ranks add nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from helpers.toy_models import Branches, loss_of, width_of
from registry_cases import ALPHA, Case, advance, data_of, demand
from torch import Tensor

from bench.engine.fused_layers import ADAPTER
from bench.engine.layout import Kept

ROUNDING = {"rtol": 1e-4, "atol": 1e-6}  # of float32, for products of other shapes


def probe_of(case: Case) -> Tensor:
    return torch.randn(6, 2, width_of(case.shapes), generator=torch.Generator().manual_seed(1))


def check_growth(case: Case) -> None:
    """When ranks enter, the outputs stay what the optimizer step has made them: a new rank adds nothing."""
    core, probe = case.core(), probe_of(case)
    rebuild, seen = core.flat.rebuild, []

    def watched(kept: Any) -> Any:
        core.flat.fold()  # the optimizer step has just moved B and E
        seen.append((core.flat.layout, _outputs(core.model, probe)))
        return rebuild(kept)

    core.flat.rebuild = watched
    for batch in data_of(case):
        core.accumulate(loss_of(core.model, batch))
        advance(core)
        for old, before in seen:
            new, after = core.flat.layout.new_since(old), _outputs(core.model, probe)
            if not any(new):
                continue
            same = torch.allclose(after, _outputs_without(core, new, probe), **ROUNDING)
            demand(same, case, f"the ranks that entered after step {core.completed} change outputs")
            if not any(old.new_since(core.flat.layout)):  # ranks were only added
                off = f"by up to {float((after - before).abs().max()):.2g}"
                same = torch.allclose(after, before, **ROUNDING)
                demand(same, case, f"a growth after step {core.completed} changed outputs {off}")
        seen.clear()


def check_pruned_are_zero(case: Case) -> None:
    """Under the budget, and after the freeze always, the model is the one that has only the live ranks.

    Where ranks are pruned, that holds too if they stay in memory.
    """
    for variant in [case, replace(case, compact=False)] if case.facts.ranks == "pruned" else [case]:
        core, probe = variant.core(), probe_of(case)
        for batch in data_of(case):
            core.accumulate(loss_of(core.model, batch))
            advance(core)
            want = _outputs(only_live_ranks(variant, core), probe)
            with core.budget_view():
                same = torch.allclose(_outputs(core.model, probe), want, **ROUNDING)
            step = core.completed
            demand(same, variant, f"under the budget of step {step} outputs are not those of the live ranks alone")
            if core.allocator.frozen:
                same = torch.allclose(_outputs(core.model, probe), want, **ROUNDING)
                demand(same, variant, f"pruned ranks still count after step {step}, though ranks are frozen")


def only_live_ranks(case: Case, core: Any) -> Branches:
    """The base with the live ranks of the adapter added to its weights, by the definition of LoRA and of AdaLoRA."""
    base, plain, masks = core.model.get_base_model(), Branches(case.shapes), core.masks()
    scale = ALPHA / (case.largest + (1e-5 if case.svd else 0.0))  # as PEFT's layers are made
    with torch.no_grad():
        for index, (merged, layer) in enumerate(zip(plain.layers, base.layers, strict=True)):
            merged.load_state_dict(layer.base_layer.state_dict())
            a, b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
            a, b = (a, b) if case.svd else (a.weight, b.weight)
            for place, rank in enumerate(core.flat.layout.kept[index]):
                if masks[f"layers.{index}"][rank]:
                    value = layer.lora_E[ADAPTER][place] if case.svd else 1.0
                    merged.weight += scale * value * torch.outer(b[:, place], a[place])
        plain.head.load_state_dict(base.head.modules_to_save[ADAPTER].state_dict())
    return plain


@torch.no_grad()
def _outputs_without(core: Any, ranks: Kept, probe: Tensor) -> Tensor:
    """The outputs if these initial ranks of each site were zero."""
    kept, places = core.flat.data.clone(), torch.tensor(core.flat.layout.elements_of(ranks))
    core.flat.data[places] = 0
    core.flat.fold()
    try:
        return core.model(probe)
    finally:
        core.flat.data.copy_(kept)
        core.flat.fold()


@torch.no_grad()
def _outputs(model: Any, probe: Tensor) -> Tensor:
    return model(probe)
