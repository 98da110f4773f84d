"""GoRA: gradients of frozen weights, ranks in proportion to them, and a B that starts from them."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from helpers.toy_models import Branches, batches, cell_of, loss_of, pack, sites_of
from peft import LoraConfig, get_peft_model
from transformers.pytorch_utils import Conv1D

from bench.config.cell import Cell
from bench.config.method import Method
from bench.config.rank_rules import Gradients, Pattern
from bench.config.rank_schedule import schedule_of
from bench.errors import BenchError
from bench.models.gora import gora_ranks, importance, load_compressed, mean_gradients
from bench.models.precision import unpacked
from bench.models.sites import AdapterSite

SHAPES = [(64, 64), (64, 128), (128, 64), (64, 64)]
NAMES = [site.name for site in sites_of(SHAPES)]
GORA = Pattern(draw="gora", gradients=Gradients())


def cell(rank: float = 8, most: int = 32, unit: str = "ranks", least: float = 0.5) -> Cell:
    pattern = Pattern(draw="gora", gradients=Gradients(least=least))
    method = {"pattern": pattern, "unit": unit}
    return cell_of(adapter="lora", allocator="given", rank=rank, initial_rank=most, method=method, max_steps=10)


def frozen(packed: bool = False) -> Branches:
    torch.manual_seed(0)
    model = Branches(SHAPES)
    if packed:
        pack(model)
    return model.requires_grad_(False)


def data(count: int = 3) -> list[Any]:
    return [batch for batch, _ in zip(batches(0, 8, 128), range(count), strict=False)]


def gathered(model: Branches, given: Sequence[Any]) -> dict[str, torch.Tensor]:
    return mean_gradients(model, sites_of(SHAPES), given, lambda batch: loss_of(model, batch) / len(given))


@pytest.mark.parametrize("packed", [False, True])
def test_gradients_are_autograds_and_the_base_stays_as_it_is(packed: bool) -> None:
    model, given = frozen(packed), data()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = gathered(model, given)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    plain = Branches(SHAPES)
    plain.head.load_state_dict(model.head.state_dict())
    for layer, stored in zip(plain.layers, model.layers, strict=True):
        layer.weight.data, layer.bias.data = unpacked(stored), stored.bias.float()
    sum(loss_of(plain, batch) / len(given) for batch in given).backward()
    for name, layer in zip(NAMES, plain.layers, strict=True):
        assert torch.allclose(found[name], layer.weight.grad, rtol=1e-3, atol=1e-6)
    expected = [(layer.weight * layer.weight.grad).abs().mean().item() for layer in plain.layers]
    assert importance(model, found) == pytest.approx(expected, rel=1e-3)


def test_gradient_checkpointing_changes_nothing() -> None:
    """Its second forward pass must not count."""
    model, given = frozen(), data(1)
    expected = gathered(model, given)
    original = model.forward

    def checkpointed(x: torch.Tensor) -> torch.Tensor:
        return torch.utils.checkpoint.checkpoint(original, x, use_reentrant=False)

    model.forward = checkpointed  # type: ignore[method-assign]
    found = gathered(model, given)
    assert all(torch.equal(found[name], expected[name]) for name in NAMES)


def test_a_layer_that_stores_its_weight_the_other_way() -> None:
    """GPT-2's layers hold [in, out]; gradients are [out, in] all the same."""
    torch.manual_seed(0)
    layer, x = Conv1D(24, 8), torch.randn(5, 3, 8)
    model = torch.nn.ModuleDict({"layer": layer}).requires_grad_(False)
    site = AdapterSite("layer", 8, 24, "layer")
    found = mean_gradients(model, [site], [x], lambda batch: layer(batch).square().mean())["layer"]
    layer.weight.requires_grad_(True)
    layer(x).square().mean().backward()
    assert torch.allclose(found, layer.weight.grad.t(), atol=1e-7)
    expected = (layer.weight * layer.weight.grad).abs().mean().item()
    assert importance(model, {"layer": found}) == pytest.approx([expected], rel=1e-5)


def ranks_of(made: Cell, importances: Sequence[float]) -> tuple[int, ...]:
    return gora_ranks(made, sites_of(SHAPES), importances, schedule_of(made, 2000, SHAPES))


def published_ranks(importances: Sequence[float], rank: int, least: int, most: int) -> list[int]:
    """The paper's rule: shares of a budget that counts sqrt(in + out) per rank, rounded to whole ranks and clipped."""
    roots = [math.sqrt(i + o) for i, o in SHAPES]
    budget = rank * sum(roots)
    wanted = [value / sum(importances) * budget / root for value, root in zip(importances, roots, strict=True)]
    return [min(most, max(least, round(ranks))) for ranks in wanted]


def test_where_the_published_ranks_fill_the_budget_these_are_they() -> None:
    roots = np.sqrt([i + o for i, o in SHAPES])
    importances = (np.array([5.1, 12.2, 3.9, 10.8]) * roots).tolist()
    published = published_ranks(importances, rank=8, least=4, most=32)
    assert sum(published) == 32
    assert ranks_of(cell(), importances) == tuple(published) == (5, 12, 4, 11)


@pytest.mark.parametrize("unit", ["ranks", "parameters"])
def test_the_budget_is_exact_where_the_published_rule_leaves_it(unit: str) -> None:
    """Its clipping and rounding spend more than the budget, or less; here one factor scales all shares to it."""
    rng, costs = np.random.default_rng(0), [1] * 4 if unit == "ranks" else [i + o for i, o in SHAPES]
    cap, missed = 8 * sum(costs), 0
    for _ in range(50):
        importances = np.exp(rng.normal(size=4) * 2).tolist()
        found = ranks_of(cell(unit=unit), importances)
        used = sum(rank * cost for rank, cost in zip(found, costs, strict=True))
        open_to_more = [cost for rank, cost in zip(found, costs, strict=True) if rank < 32]
        assert used <= cap < used + min(open_to_more)
        assert 4 <= min(found) <= max(found) <= 32
        published = published_ranks(importances, rank=8, least=4, most=32)
        missed += sum(rank * cost for rank, cost in zip(published, costs, strict=True)) > cap
        if unit == "ranks":  # some factor makes the rounded and clipped shares these ranks
            shares = np.array(importances) / np.sqrt([i + o for i, o in SHAPES])
            free = [(s, r) for s, r in zip(shares, found, strict=True) if 4 < r < 32]
            low = max([(r - 0.5) / s for s, r in free], default=0)
            high = min([(r + 0.5) / s for s, r in free], default=math.inf)
            assert low <= high
            assert all(low * s <= 4.5 + 1e-9 for s, r in zip(shares, found, strict=True) if r == 4)
    assert missed > 10


def test_without_a_least_rank_a_matrix_may_stay_without_any() -> None:
    assert ranks_of(cell(rank=2, most=8, least=0), [1.0, 1e-9, 1e-9, 1.0]) == (4, 0, 0, 4)


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    with pytest.raises(BenchError, match="gradients of the pretrained weights that are not finite"):
        ranks_of(cell(), [1.0, math.nan, 1.0, 1.0])


def test_b_solves_least_squares_for_a_step_down_the_gradient() -> None:
    """Whatever the adapter's scale is. Independent of the code: numpy's own solution for each row of the update."""
    model, given = frozen(), data()
    found, gamma = gathered(model, given), 0.05
    ranks = dict(zip(NAMES, (4, 16, 0, 8), strict=True))
    for alpha in (8, 32):
        torch.manual_seed(1)
        config = LoraConfig(r=16, lora_alpha=alpha, target_modules=NAMES)
        peft_model = get_peft_model(copy.deepcopy(model), config)
        load_compressed(peft_model, found, ranks, gamma)
        for name, (width, _) in zip(NAMES, SHAPES, strict=True):
            layer, rank = peft_model.get_base_model().get_submodule(name), ranks[name]
            a = layer.lora_A["default"].weight.detach().double().numpy()[:rank]
            b = layer.lora_B["default"].weight.detach().double().numpy()
            assert not b[:, rank:].any()
            if rank:
                target = -gamma * math.sqrt(width / rank) * found[name].double().numpy()
                best = np.linalg.lstsq(a.T, target.T, rcond=None)[0].T
                assert alpha / 16 * b[:, :rank] == pytest.approx(best, rel=1e-4, abs=1e-9)
                held = np.linalg.norm(alpha / 16 * b[:, :rank] @ a)
                assert 0.5 < held / (gamma * np.linalg.norm(found[name])) < 2  # of the size that `scale` says


def test_the_first_update_lowers_the_loss() -> None:
    model, given = frozen(), data()
    found = gathered(model, given)
    peft_model = get_peft_model(copy.deepcopy(model), LoraConfig(r=16, lora_alpha=16, target_modules=NAMES))
    with torch.no_grad():
        before = sum(float(loss_of(peft_model, batch)) for batch in given)
        load_compressed(peft_model, found, dict.fromkeys(NAMES, 16), 0.05)
        assert sum(float(loss_of(peft_model, batch)) for batch in given) < before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapter": "adalora"}, "draw: gora starts LoRA's B: adapter must be lora, not adalora"),
        ({"pattern": {"draw": "gora"}}, "draw: gora and the block `gradients` go together"),
        ({"pattern": {"draw": "eva", "gradients": {}}}, "draw: gora and the block `gradients` go together"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Method(**{"name": "m", "label": "m", "adapter": "lora", "allocator": "given", "pattern": GORA, **changes})
