"""Ranks and first values from the activations of the pretrained model: EVA, through PEFT's own computation.

Paischer et al. 2024 (Explained Variance Adaptation, arXiv 2410.07170): the rows of A are the right singular vectors of
what flows into a matrix, and a matrix gets as many of them as explain more of the variance than those of the others. It
is the pattern `draw: eva`; how the vectors are found is PEFT's code, which is called and not copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from bench.config.cell import Cell
from bench.config.rank_schedule import largest_rank
from bench.engine.fused_layers import ADAPTER
from bench.errors import BenchError
from bench.models.sites import AdapterSite

PASSES = 50  # over the training rows: vectors that have not come to rest by then never will


def eva_vectors(
    model: Any,
    cell: Cell,
    sites: Sequence[AdapterSite],
    rows: Sequence[Any],
    collate: Callable[[Any], Any],
    forward: Callable[[Any], Any],
    masks: Callable[[Any], Sequence[Tensor]],
) -> dict[str, Tensor]:
    """The rows of A [rank, in_features] of each site, by its name; a rank may be 0, and none is above `largest_rank`.

    `model` is the bare pretrained model, and `forward` runs it on a batch that `collate` makes of an element of `rows`,
    once in a pass, so that only one batch need fit on the device. `masks` tells, for a batch, which places [rows,
    length] of the texts that the model reads or writes are no padding. All ranks together are at most the budget's
    average rank, rounded down, times the number of matrices. Nothing random is drawn, and the model stays as it is.
    Raises BenchError if the budget has no whole rank, or if the vectors never come to rest.
    """
    from peft import EvaConfig, LoraConfig, get_eva_state_dict

    assert cell.budget.rank is not None  # a budget in parameters is refused with ranks that are given
    shapes = [(site.in_features, site.out_features) for site in sites]
    rank = int(cell.budget.rank)
    if rank < 1:
        raise BenchError(f"{cell.id}: EVA gives out whole ranks, and the budget is {cell.budget.rank:g} per matrix")
    config = LoraConfig(
        r=rank,
        target_modules=[site.name for site in sites],
        init_lora_weights="eva",
        eva_config=EvaConfig(rho=largest_rank(cell, shapes) / rank),
    )
    left = PASSES * len(rows)

    @lru_cache(maxsize=1)
    def batch_of(number: int) -> Any:
        return collate(rows[number])

    def masks_of(numbered: Mapping[str, Tensor], _config: Any) -> Sequence[Tensor]:
        # PEFT asks once per batch, and goes through the batches again and again until the vectors come to rest.
        nonlocal left
        left -= 1
        if left < 0:
            reason = "a batch has fewer tokens than ranks are asked for, or the vectors never come to rest"
            raise BenchError(f"{cell.id}: EVA is not done after {PASSES} passes over the training rows: {reason}")
        return masks(batch_of(int(numbered["batch"])))

    found: Mapping[str, Tensor] = get_eva_state_dict(
        model,
        [{"batch": torch.tensor(number)} for number in range(len(rows))],
        config,
        forward_fn=lambda _model, numbered: forward(batch_of(int(numbered["batch"]))),
        prepare_model_inputs_fn=masks_of,
        prepare_layer_inputs_fn=_tokens,
        gather_distributed_inputs=False,  # every process reads the same batches
        show_progress_bar=False,
    )
    return {site.name: found[site.name].float() for site in sites}


@torch.no_grad()  # type: ignore[untyped-decorator]
def load_vectors(peft_model: Any, vectors: Mapping[str, Tensor]) -> None:
    """Let the first rows of A of each site be its `vectors` [rank, in_features]."""
    base = peft_model.get_base_model()
    for name, rows in vectors.items():
        base.get_submodule(name).lora_A[ADAPTER].weight[: len(rows)] = rows


def _tokens(layer_input: Any, masks: Sequence[Tensor], _name: str) -> Tensor:
    """The inputs of a layer [places, in_features] without those of padding."""
    values: Tensor = layer_input if isinstance(layer_input, Tensor) else layer_input[0]
    for mask in masks:
        if values.shape[:-1] == mask.shape:
            return values[mask].float()
    return values.reshape(-1, values.shape[-1]).float().contiguous()  # PEFT reads them as one row
