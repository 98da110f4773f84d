"""The first values of what a cell trains, as a base in float32 on the CPU would have them.

A base that is stored in less, or that is loaded on a GPU, would draw new heads from another generator or round them,
round the heads that its checkpoint has, and PEFT rounds adapters to the type of the base. The same seed would then not
give the same start to a method under every storage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from bench.engine.fused_layers import ADAPTER
from bench.models.sites import AdapterSite


def initial_heads(load: Callable[[], Any], heads: Callable[[Any], Sequence[str]]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each head, by its path. `load` loads the model in float32 on the CPU; `heads` names its heads."""
    model = load()
    return {name: model.get_submodule(name).state_dict() for name in heads(model)}


def initial_adapters(config: Any, sites: Sequence[AdapterSite]) -> dict[str, Tensor]:
    """The matrices of LoRA or AdaLoRA at `sites`, by the name of the parameter in the model without PEFT's wrapper.

    PEFT draws them on layers of the same shapes, one after the other as in the model. `config` is PEFT's. The caller
    seeds before.
    """
    from peft import inject_adapter_in_model

    shapes = nn.Module()
    for site in sites:
        layer = nn.Linear(site.in_features, site.out_features, bias=False, device="meta")
        # One number in memory. On the meta device PEFT would draw nothing.
        weight = torch.zeros(()).expand(site.out_features, site.in_features)
        layer.weight = nn.Parameter(weight, requires_grad=False)
        _put(shapes, site.name, layer)
    config = deepcopy(config)
    config.modules_to_save = config.task_type = None
    config.fan_in_fan_out = False  # A and B have the same shapes whichever way a layer stores its weight
    inject_adapter_in_model(config, shapes, adapter_name=ADAPTER)
    return {name: value.detach() for name, value in shapes.named_parameters() if ".lora_" in name}


def _put(model: nn.Module, path: str, layer: nn.Module) -> None:
    """Make `layer` a submodule of `model` at `path`, and the modules on the way to it."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(model, parent):
            model.add_module(parent, nn.Module())
        model = model.get_submodule(parent)
    model.add_module(name, layer)
