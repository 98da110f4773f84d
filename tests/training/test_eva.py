"""EVA: ranks and first values from the training rows, as PEFT finds them, within the budget."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.toy_models import Branches, cell_of, sites_of
from peft import EvaConfig, LoraConfig, get_peft_model
from peft.tuners.lora.eva import initialize_lora_eva_weights

from bench.config.cell import Cell
from bench.config.method import Method, Pattern
from bench.errors import BenchError
from bench.models.eva import eva_vectors, load_vectors

SHAPES = [(8, 16), (12, 8), (16, 8), (10, 8)]
EVA = Pattern(draw="eva")


def cell(rank: float = 2) -> Cell:
    return cell_of(adapter="lora", allocator="given", rank=rank, initial_rank=4, method={"pattern": EVA}, max_steps=10)


def toy(rows: int = 64, batches: int = 3) -> tuple[Branches, list[tuple[torch.Tensor, torch.Tensor]]]:
    """A model and inputs [rows, 5, 16] with a few strong directions; the last place of each row is padding."""
    torch.manual_seed(3)
    strong = torch.randn(4, 16) * torch.tensor([[3.0], [0.5], [3.0], [3.0]])
    strong[2:, :12] = 0  # only the matrix with 16 inputs sees these two
    inputs = [torch.randn(rows, 5, 4) @ strong + 0.05 * torch.randn(rows, 5, 16) for _ in range(batches)]
    mask = torch.ones(rows, 5)
    mask[:, -1] = 0
    for batch in inputs:
        batch[:, -1] = 100.0
    return Branches(SHAPES), [(batch, mask.bool()) for batch in inputs]


Inputs = list[tuple[torch.Tensor, torch.Tensor]]  # and which places are no padding


def vectors(
    model: Branches, batches: list[tuple[torch.Tensor, torch.Tensor]], rank: float = 2
) -> dict[str, torch.Tensor]:
    return eva_vectors(
        model,
        cell(rank),
        sites_of(SHAPES),
        batches,
        lambda rows: rows,
        lambda batch: model(batch[0]),
        lambda batch: [batch[1]],
    )


def without_padding(batches: Inputs) -> Inputs:
    return [(x[:, :-1].contiguous(), mask[:, :-1]) for x, mask in batches]


def test_vectors_are_those_of_pefts_own_path() -> None:
    """`initialize_lora_eva_weights`, which is told nothing about padding, on rows without any."""
    model, batches = toy()
    batches = without_padding(batches)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = vectors(model, batches)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    config = LoraConfig(
        r=2,
        target_modules=[site.name for site in sites_of(SHAPES)],
        init_lora_weights="eva",
        eva_config=EvaConfig(rho=2.0),
    )
    other = get_peft_model(model, config, low_cpu_mem_usage=True)
    initialize_lora_eva_weights(
        other,
        [{"x": x} for x, _ in batches],
        prepare_model_inputs_fn=None,
        prepare_layer_inputs_fn=lambda inputs, *_: inputs[0].flatten(0, 1).contiguous(),
        show_progress_bar=False,
    )
    ranks = {name: len(rows) for name, rows in found.items()}
    assert sum(ranks.values()) == 8
    assert max(ranks.values()) <= 4
    assert len(set(ranks.values())) > 1
    for name, rows in found.items():
        layer = other.get_base_model().get_submodule(name)
        assert hasattr(layer, "lora_A") == bool(ranks[name])
        if ranks[name]:
            assert torch.equal(layer.lora_A["default"].weight, rows)


def test_padding_has_no_part_in_the_vectors() -> None:
    model, batches = toy()
    masked, plain = vectors(model, batches), vectors(model, without_padding(batches))
    assert {name: len(rows) for name, rows in masked.items()} == {name: len(rows) for name, rows in plain.items()}
    for name, rows in masked.items():
        assert torch.allclose(rows, plain[name], atol=1e-5)


def test_the_adapter_starts_with_them_and_changes_no_output() -> None:
    model, batches = toy()
    found = vectors(model, batches)
    with torch.no_grad():
        before = model(batches[0][0])
    peft_model = get_peft_model(model, LoraConfig(r=4, target_modules=[site.name for site in sites_of(SHAPES)]))
    load_vectors(peft_model, found)
    with torch.no_grad():
        assert torch.equal(peft_model(batches[0][0]), before)
    for name, rows in found.items():
        assert torch.equal(peft_model.get_base_model().get_submodule(name).lora_A["default"].weight[: len(rows)], rows)


def test_too_few_tokens_end_in_an_error_and_not_in_a_loop() -> None:
    model, batches = toy(rows=1, batches=1)
    with pytest.raises(BenchError, match="EVA is not done after 50 passes"):
        vectors(model, [(x[:, :2].contiguous(), mask[:, :2]) for x, mask in batches])


def test_a_budget_below_one_rank_is_refused() -> None:
    with pytest.raises(BenchError, match="whole ranks"):
        vectors(*toy(), rank=0.5)


@pytest.mark.parametrize("changes", [{"adapter": "adalora"}, {"unit": "parameters"}])
def test_eva_starts_lora_and_counts_ranks(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="adapter must be lora, and unit ranks"):
        Method(**{"name": "m", "label": "m", "adapter": "lora", "allocator": "given", "pattern": EVA, **changes})
