"""Adapters that need no code of ours: any PEFT method, through PEFT's own layers.

Its parameters are trained like heads, as plain parts of the flat buffer; its ranks, where it has any, never move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor

from bench.config.cell import Cell
from bench.config.peft_fields import config_class
from bench.config.rank_schedule import largest_rank
from bench.engine.fused_layers import ADAPTER
from bench.errors import BenchError
from bench.models.sites import AdapterSite


def config_of(cell: Cell, sites: Sequence[AdapterSite], common: dict[str, Any]) -> Any:
    """The method's PEFT config: the budget's rank and the recipe's alpha and dropout where the class has such fields,
    then what the method's file sets. Raises BenchError where PEFT refuses a value."""
    chosen = cell.method.peft
    assert chosen is not None  # the spec demands it of such methods
    kind = config_class(chosen.config)
    rank = largest_rank(cell, [(site.in_features, site.out_features) for site in sites])
    values = {
        "r": rank,
        "lora_alpha": cell.recipe.alpha_at(rank),
        "alpha": cell.recipe.alpha_at(rank),
        "lora_dropout": cell.recipe.adapter_dropout,
        **common,
    }
    known = {field.name for field in fields(kind)}
    try:
        return kind(**{name: value for name, value in values.items() if name in known}, **chosen.fields)
    except (TypeError, ValueError) as error:
        raise BenchError(f"method {cell.method.name!r}: {chosen.config} refuses it: {error}") from error


def adapted_matrices(model: Any) -> int:
    """Matrices that carry the adapter."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return sum(isinstance(module, BaseTunerLayer) for module in model.modules())


def state_of(peft_model: Any) -> dict[str, Tensor]:
    """The state dict of the model with what is trained as copies; PEFT picks out what belongs to the adapter."""
    state: dict[str, Tensor] = peft_model.state_dict()
    trained = {name for name, parameter in peft_model.named_parameters() if parameter.requires_grad}
    for name in trained & state.keys():  # views of one buffer, which safetensors would refuse
        state[name] = state[name].detach().cpu().clone().contiguous()
    return state


def plain_ranks(model: Any, cell: Cell, sites: Sequence[AdapterSite]) -> int:
    """Ranks over all matrices of an adapter whose layers are not ours: 0 for a method that has none; the full rank of
    each of `sites` where everything is trained."""
    if cell.method.adapter == "full":
        return sum(min(site.in_features, site.out_features) for site in sites)
    config = model.peft_config[ADAPTER] if cell.method.adapter == "peft" else None
    return int(getattr(config, "r", 0) or 0) * adapted_matrices(model)
