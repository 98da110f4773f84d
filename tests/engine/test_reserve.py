"""IncreLoRA's reserve ranks: trained before they count, held at 1e-5 until then, gone when growth ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from helpers.toy_models import Branches, adapted, batches, cell_of, core_of, loss_of, width_of
from torch import Tensor
from torch.nn import functional

from bench.config.rank_rules import Growth
from bench.config.rank_schedule import largest_rank, schedule_of
from bench.engine.allocators.reserve import RESERVED
from bench.training.best_step import BestStep

SHAPES = [(12, 16), (16, 12), (12, 12), (10, 16)]
STEPS, WARMUP, MOST, CAP = 20, 2, 4, 8
GROWTH = Growth(start_rank=1, checks=4, until=0.75, warmup=WARMUP, ceiling=2.0)  # after steps 4, 8, 11 and 15
CHECKS = [4, 8, 11, 15]
BETAS = (0.85, 0.85)


def made() -> Any:
    method = {"growth": GROWTH, "regularizer": False}
    cell = cell_of(
        allocator="increlora_reserve",
        rank=2,
        method=method,
        max_steps=STEPS,
        learning_rate=0.02,
        importance_betas=BETAS,
    )
    assert largest_rank(cell, SHAPES) == MOST
    return core_of(SHAPES, MOST, schedule_of(cell, 2000, SHAPES), cell)


def data() -> list[Any]:
    return [batch for batch, _ in zip(batches(0, 8, width_of(SHAPES)), range(STEPS), strict=False)]


@dataclass
class Rank:
    """One rank of one matrix, with Adam's state and the averages of the importance of each of its parts."""

    a: Tensor
    b: Tensor
    e: Tensor
    newcomer: bool
    age: int = 0
    averages: list[Tensor] = field(default_factory=list)
    deviations: list[Tensor] = field(default_factory=list)

    @property
    def parts(self) -> list[Tensor]:
        return [self.e, self.a, self.b]

    def __post_init__(self) -> None:
        for part in self.parts:
            part.requires_grad_()
        self.averages = [torch.zeros_like(part) for part in self.parts]
        self.deviations = [torch.zeros_like(part) for part in self.parts]
        self.optimizer = torch.optim.AdamW(self.parts, weight_decay=0.0, eps=1e-8)

    @torch.no_grad()
    def step(self, rate: float, reserved: bool) -> None:
        warm = min(1.0, (self.age + 1) / WARMUP) if self.newcomer else 1.0
        self.optimizer.param_groups[0]["lr"] = rate * warm
        self.optimizer.step()
        self.age += 1
        if reserved:
            self.e.fill_(RESERVED)
        for part, average, deviation in zip(self.parts, self.averages, self.deviations, strict=True):
            sensitivity = (part * part.grad).abs()
            average.mul_(BETAS[0]).add_(sensitivity, alpha=1 - BETAS[0])
            deviation.mul_(BETAS[1]).add_((sensitivity - average).abs(), alpha=1 - BETAS[1])
            part.grad = None

    def score(self) -> float:
        products = [average * deviation for average, deviation in zip(self.averages, self.deviations, strict=True)]
        return float(sum(product.mean() for product in products))


class Independent:
    """The method as the paper says it, a rank at a time, on matrices that start as PEFT draws them."""

    def __init__(self) -> None:
        base = adapted(SHAPES, MOST).get_base_model()
        self.base, self.scale = base, 8.0 / (MOST + 1e-5)
        self.head = [p.detach().clone().requires_grad_() for p in base.head.modules_to_save["default"].parameters()]
        self.optimizer = torch.optim.AdamW(self.head, weight_decay=0.0, eps=1e-8)
        self.drawn = [
            (layer.lora_A["default"].detach().clone(), layer.lora_B["default"].detach().clone())
            for layer in base.layers
        ]
        self.counted = [1] * len(SHAPES)
        self.ranks = [[self.entering(site, rank, newcomer=False) for rank in (0, 1)] for site in range(len(SHAPES))]
        for held in self.ranks:
            held[0].e.data.zero_()  # only reserves start at 1e-5

    def entering(self, site: int, rank: int, *, newcomer: bool) -> Rank:
        a, b = self.drawn[site]
        return Rank(a[rank].clone(), b[:, rank].clone(), torch.full((1,), RESERVED), newcomer)

    def loss(self, batch: Any) -> Tensor:
        x, y = batch
        parts = []
        for layer, held, (width, _) in zip(self.base.layers, self.ranks, SHAPES, strict=True):
            weight = layer.base_layer.weight.detach().clone()
            for rank in held:
                weight = weight + self.scale * rank.e * torch.outer(rank.b, rank.a)
            parts.append(torch.tanh(functional.linear(x[..., :width], weight, layer.base_layer.bias.detach())))
        out = functional.linear(torch.cat(parts, dim=-1), *self.head)
        return functional.cross_entropy(out.flatten(0, 1), y.flatten())

    def step(self, step: int, rate: float, batch: Any) -> None:
        self.loss(batch).backward()
        everything = [*self.head, *(part for held in self.ranks for rank in held for part in rank.parts)]
        torch.nn.utils.clip_grad_norm_(everything, 1.0)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        for count, held in zip(self.counted, self.ranks, strict=True):
            for place, rank in enumerate(held):
                rank.step(rate, reserved=place >= count and sum(self.counted) < CAP)
        if step in CHECKS:
            self.grow(CHECKS.index(step) + 1)

    def grow(self, done: int) -> None:
        due = 4 + (CAP - 4) * done // len(CHECKS) - sum(self.counted)
        scores = [
            sum(rank.score() for rank in held[:count]) / count
            for held, count in zip(self.ranks, self.counted, strict=True)
        ]
        open_ones = sorted((s for s in range(len(SHAPES)) if self.counted[s] < MOST), key=lambda s: -scores[s])
        for site in open_ones[:due]:
            self.counted[site] += 1
            if self.counted[site] < MOST:
                self.ranks[site].append(self.entering(site, self.counted[site], newcomer=True))
        if sum(self.counted) == CAP:
            self.ranks = [held[:count] for held, count in zip(self.ranks, self.counted, strict=True)]


def test_every_step_is_that_of_an_independent_implementation() -> None:
    core, other = made(), Independent()
    for step, batch in enumerate(data(), 1):
        rate = core.learning_rate(core.completed)
        core.accumulate(loss_of(core.model, batch))
        core.step()
        other.step(step, rate, batch)
        assert list(core.live_ranks().values()) == other.counted, step
        assert list(core.flat.layout.ranks) == [len(held) for held in other.ranks], step
        for (a, b, e), held in zip(core.flat.factors(core.flat.data), other.ranks, strict=True):
            for place, rank in enumerate(held):
                assert torch.allclose(a[place], rank.a, rtol=1e-3, atol=2e-5), step
                assert torch.allclose(b[:, place], rank.b, rtol=1e-3, atol=2e-5), step
                assert torch.allclose(e[place], rank.e, rtol=1e-3, atol=2e-5), step
    assert sum(other.counted) == CAP
    assert len(set(other.counted)) > 1


def test_a_reserve_trains_but_does_not_count_and_leaves_when_growth_ends() -> None:
    core = made()
    first = [a[1].clone() for a, _, _ in core.flat.factors(core.flat.data)]
    probe = torch.randn(5, 2, width_of(SHAPES), generator=torch.Generator().manual_seed(1))
    plain = Branches(SHAPES)
    plain.load_state_dict(
        {
            **{
                k.replace("base_layer.", ""): v
                for k, v in core.model.get_base_model().state_dict().items()
                if "base_" in k
            },
            **{
                f"head.{k}": v
                for k, v in core.model.get_base_model().head.modules_to_save["default"].state_dict().items()
            },
        }
    )
    with core.budget_view(), torch.no_grad():
        assert torch.equal(core.model(probe), plain(probe))  # no reserve in what is evaluated
    for batch in data()[:3]:
        assert core.flat.layout.ranks == (2,) * 4
        assert list(core.live_ranks().values()) == [1] * 4
        assert core.live_parameters() * 2 == core.trainable_parameters()["adapter"]
        core.accumulate(loss_of(core.model, batch))
        core.step()
        assert all(float(e[1]) == pytest.approx(RESERVED) for _, _, e in core.flat.factors(core.flat.data))
    moved = [
        float((a[1] - was).norm()) for (a, _, _), was in zip(core.flat.factors(core.flat.data), first, strict=True)
    ]
    assert min(moved) > 0.01
    for batch in data()[3:]:
        core.accumulate(loss_of(core.model, batch))
        core.step()
    assert core.allocator.frozen
    assert core.budget_mask() is None
    assert sum(core.flat.layout.ranks) == CAP
    assert core.trainable_parameters()["adapter"] == core.live_parameters()


@pytest.mark.parametrize("end", [7, 9, STEPS])
def test_the_best_step_has_no_reserves_when_it_is_restored(end: int) -> None:
    core = made()
    best = BestStep(core, frozenset({6}))
    for batch in data()[:end]:
        core.accumulate(loss_of(core.model, batch))
        core.step()
        if best.due():
            best.offer(1.0)
            ranks, singular = core.live_ranks(), core.flat.singular[core.budget_mask()].clone()
    again = BestStep(core, best.checks)
    again.load(*best.state())
    again.restore()
    assert core.live_ranks() == ranks
    with core.budget_view():
        assert sorted(core.flat.singular[core.flat.singular.abs() > RESERVED / 2].tolist()) == sorted(singular.tolist())
    assert core.live_parameters() <= sum(ranks.values()) * (16 + 12 + 1)
