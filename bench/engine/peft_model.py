"""The training core on any PEFT model: its sites, its AdaLoraConfig as a rank schedule, and what PEFT saves of it.

core = core_for(model, learning_rate=1e-3)      # `model` comes from peft.get_peft_model
for batch in batches:
    core.accumulate(model(**batch).loss)
    core.step()
record_ranks(model, core)                       # so that model.save_pretrained keeps live ranks only
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.engine.fused_layers import ADAPTER
from bench.engine.layout import Site
from bench.engine.options import AllocatorOptions, BudgetUnit, OptimizerName, StepOptions
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.errors import BenchError, nearest

ENDLESS = 2**31 - 1  # optimizer steps, for an adapter whose ranks never change


def core_for(model: Any, *, adapter: str = ADAPTER, **options: Any) -> Core:
    """The training core of `model`, for a loop of one's own; the options are those of `bare_core`.

    The model obeys its budget wherever it is evaluated or saved (`BudgetKeeper`). Raises BenchError.
    """
    core = bare_core(model, adapter=adapter, **options)
    BudgetKeeper(model, core)
    return core


def bare_core(
    model: Any,
    *,
    learning_rate: float = 1e-3,
    warmup_steps: int = 0,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    max_grad_norm: float | None = 1.0,
    micro_batches: int = 1,
    total_steps: int | None = None,
    unit: BudgetUnit = "ranks",
    compact: bool = False,
    optimizer: OptimizerName = "adamw",
    adapter: str = ADAPTER,
) -> Core:
    """The training core of `model`, a PeftModel with an AdaLoRA or LoRA adapter on linear layers, on its device.

    An AdaLoRA adapter follows its own `AdaLoraConfig`: `init_r`, `target_r`, `tinit`, `tfinal`, `deltaT`, `total_step`,
    `beta1`, `beta2` and `orth_reg_weight` mean what they mean in PEFT. A LoRA adapter keeps its ranks, and
    `total_steps` says where its learning rate ends; without it the learning rate stays constant. The learning rate
    rises over `warmup_steps` and then decays linearly to 0 at the last step; a caller with a schedule of his own passes
    `learning_rate` to `Core.step`.

    unit: `parameters` lets the schedule's budgets count parameters in place of ranks. compact: pruned ranks leave the
    model's parameters when the allocation freezes; call `record_ranks` before such a model is saved. optimizer:
    `adamw8bit` keeps AdamW's moments in 8 bits.

    Raises BenchError if the model has no such adapter, or if the fields of its config cannot be a schedule.
    """
    config = _config(model, adapter)
    sites = find_sites(model, adapter)
    schedule = schedule_of(config, model, sites, unit, adapter, total_steps)
    prunes = config.peft_type == "ADALORA"
    return Core(
        model,
        sites,
        StepOptions(
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            decay="constant" if schedule.total_steps == ENDLESS else "linear",
            weight_decay=weight_decay,
            betas=betas,
            epsilon=epsilon,
            max_grad_norm=max_grad_norm,
            orthogonality=config.orth_reg_weight if prunes else 0.0,
            micro_batches=micro_batches,
            optimizer=optimizer,
        ),
        schedule,
        AllocatorOptions(
            name="adalora" if prunes else "fixed",
            unit=unit,
            importance_betas=(config.beta1, config.beta2) if prunes else (0.85, 0.85),
            compact=compact,
        ),
        adapter=adapter,
    )


def find_sites(model: Any, adapter: str = ADAPTER) -> tuple[Site, ...]:
    """Every matrix of `model` that carries `adapter`, in the order of the model. Raises BenchError if there is none."""
    from peft.tuners.lora import LoraLayer

    sites = tuple(
        Site(name, int(module.in_features or 0), int(module.out_features or 0))
        for name, module in model.get_base_model().named_modules()
        if isinstance(module, LoraLayer) and adapter in module.lora_A
    )
    if not sites:
        raise BenchError(f"the model has no LoRA or AdaLoRA layer of the adapter {adapter!r}")
    return sites


def schedule_of(
    config: Any, model: Any, sites: tuple[Site, ...], unit: BudgetUnit, adapter: str, total_steps: int | None
) -> RankSchedule:
    """The rank schedule that `config` (an AdaLoraConfig or a LoraConfig) asks for. Raises BenchError."""
    adalora = config.peft_type == "ADALORA"
    base = model.get_base_model()
    ranks = [base.get_submodule(site.name).r[adapter] for site in sites]
    costs = [site.parameters_per_rank + 1 if unit == "parameters" else 1 for site in sites]
    initial = sum(rank * cost for rank, cost in zip(ranks, costs, strict=True))
    if not adalora:
        total = ENDLESS if total_steps is None else total_steps
        try:
            return RankSchedule(initial_budget=initial, target_budget=initial, total_steps=total)
        except ValueError as error:
            raise BenchError(str(error)) from error
    if total_steps is not None and total_steps != config.total_step:
        raise BenchError(f"AdaLoraConfig.total_step is {config.total_step}, but the training makes {total_steps} steps")
    try:
        return RankSchedule(
            initial_budget=initial,
            target_budget=sum(config.target_r * cost for cost in costs),
            initial_steps=config.tinit,
            final_steps=config.tfinal,
            interval=config.deltaT,
            total_steps=config.total_step,
        )
    except ValueError as error:
        raise BenchError(f"AdaLoraConfig: {error}") from error


def record_ranks(model: Any, core: Core, adapter: str = ADAPTER) -> None:
    """Write the ranks that live now into the adapter's config, so that PEFT saves only these, and loads them again.

    It sets `rank_pattern` of an AdaLoraConfig; a LoRA adapter needs nothing. A rank whose singular value is 0 adds
    nothing to any output, so leaving it out of the file is exact. Where ranks have left the model's parameters, PEFT
    can't leave out more of them.
    """
    config = _config(model, adapter)
    if config.peft_type != "ADALORA":
        return
    state = model.state_dict()
    ranks = core.initial_ranks
    pattern = {}
    for site, kept, initial in zip(core.flat.layout.sites, core.flat.layout.kept, ranks, strict=True):
        singular = state[f"base_model.model.{site.name}.lora_E.{adapter}"].flatten().tolist()
        compacted = len(kept) < initial
        live = {rank for rank, value in zip(kept, singular, strict=True) if value != 0 or compacted}
        pattern[f"{site.name}.lora_E"] = [rank in live for rank in range(initial)]
        before = (config.rank_pattern or {}).get(f"{site.name}.lora_E", [])
        if sum(before) == initial:
            # The adapter was loaded with a pattern of its own. PEFT makes all `init_r` ranks and then takes these.
            order = iter(range(initial))
            pattern[f"{site.name}.lora_E"] = [kept_before and next(order) in live for kept_before in before]
    config.rank_pattern = pattern


class BudgetKeeper:
    """Lets `model` obey the budget of its step wherever it is evaluated or saved, not only inside `budget_view`.

    Between two masks pruned ranks train on, so that they can come back; a model that is evaluated or saved there would
    be over its budget. In evaluation mode the fused layers therefore see masked singular values, and the model's
    `state_dict` holds them masked. What is trained stays as it is: `Core.state_dict` holds it for a checkpoint.
    """

    def __init__(self, model: Any, core: Core) -> None:
        self._model, self._core = model, core
        self._released = False
        base = model.get_base_model()
        model.register_forward_pre_hook(self._before_forward)
        base.register_forward_pre_hook(self._before_forward)  # `generate` calls the model inside
        model.register_load_state_dict_post_hook(self._after_load)
        self._layers = [base.get_submodule(site.name) for site in core.flat.layout.sites]
        for index, layer in enumerate(self._layers):
            layer.register_state_dict_post_hook(partial(self._after_state_dict, index))
            if hasattr(layer, "lora_E") and hasattr(layer, "get_delta_weight"):  # PEFT cannot merge into 4-bit layers
                layer.get_delta_weight = partial(self._delta_weight, layer)

    def release(self) -> None:
        """From now on the model is shown as its parameters are: they were loaded, and obey a budget of their own."""
        self._released = True
        self._core.flat.fold()

    def resume(self) -> None:
        """After `release`: the core's own training goes on."""
        self._released = False

    def _replaced(self) -> bool:
        """Whether another core was made for this adapter since. That one decides then."""
        sites = self._core.flat.sites
        return any(layer.fused_site is not site for layer, site in zip(self._layers, sites, strict=True))

    def _mask(self) -> Tensor | None:
        return None if self._released or self._replaced() else self._core.budget_mask()

    def _before_forward(self, _module: Any, _inputs: Any) -> None:
        flat = self._core.flat
        if self._replaced():
            return
        flat.rejoin()
        if not self._model.training:
            flat.fold(self._mask())
        elif flat.masked:
            flat.fold()

    def _after_load(self, _module: Any, _incompatible: Any) -> None:
        self._core.flat.fold()  # E or B have other values now

    def _delta_weight(self, layer: Any, adapter: str) -> Tensor:
        """In place of PEFT's `get_delta_weight`, so that ranks without budget are not merged into the base."""
        with self._core.budget_view() if self._mask() is not None else nullcontext():
            return type(layer).get_delta_weight(layer, adapter)

    def _after_state_dict(self, index: int, _layer: Any, state: dict[str, Tensor], prefix: str, _metadata: Any) -> None:
        """Copies in place of views of the flat buffer, which safetensors refuses to write; E masked."""
        mask, layout = self._mask(), self._core.flat.layout
        first, rank = layout.first_triplets[index], layout.ranks[index]
        for key in [key for key in state if key.startswith(f"{prefix}lora_")]:
            value = state[key].detach().clone(memory_format=torch.contiguous_format)
            if mask is not None and key.startswith(f"{prefix}lora_E"):
                value.mul_(mask[first : first + rank].unsqueeze(1))
            state[key] = value


def _config(model: Any, adapter: str) -> Any:
    configs = getattr(model, "peft_config", None)
    if configs is None:
        raise BenchError(f"expected a PeftModel from peft.get_peft_model, found {type(model).__name__}")
    if adapter not in configs:
        raise BenchError(f"the model has no adapter {adapter!r}{nearest(adapter, configs)}")
    if configs[adapter].peft_type not in ("ADALORA", "LORA"):
        raise BenchError(f"expected an AdaLoRA or LoRA adapter, found {configs[adapter].peft_type.value}")
    return configs[adapter]
