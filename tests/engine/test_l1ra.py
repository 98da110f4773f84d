"""L1RA's gates and moves against an implementation of its own, with torch's AdamW and a rate of their own for gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from helpers.toy_models import adapted, batches, cell_of, core_of, loss_of, width_of
from torch import Tensor
from torch.nn import functional

from bench.config.rank_rules import Gates
from bench.config.rank_schedule import largest_rank, schedule_of
from bench.config.recipe import RankPhases

SHAPES = [(12, 16), (16, 12), (12, 12), (10, 16)]
STEPS, MOST, CAP = 40, 4, 9  # 2.25 ranks a matrix: they start at 2, and the first move gives out one more
RATE, TIMES, SPARSITY = 0.004, 20, 0.4
MOVES = [2 + round(34 * k / 6) for k in range(1, 6)]


def made(weight_decay: float = 0.0) -> Any:
    method = {"gates": Gates(rate=TIMES, sparsity=SPARSITY, times=5), "regularizer": False}
    phases = RankPhases(initial_steps=2, final_steps=4, interval=1)
    cell = cell_of(
        allocator="l1ra",
        rank=2.25,
        initial_rank=MOST,
        method=method,
        max_steps=STEPS,
        learning_rate=RATE,
        rank_schedule=phases,
        weight_decay=weight_decay,
    )
    assert largest_rank(cell, SHAPES) == MOST
    return core_of(SHAPES, MOST, schedule_of(cell, 2000, SHAPES), cell)


def data() -> list[Any]:
    return [batch for batch, _ in zip(batches(0, 8, width_of(SHAPES)), range(STEPS), strict=False)]


@dataclass
class Rank:
    number: int
    a: Tensor
    b: Tensor
    c: Tensor

    def __post_init__(self) -> None:
        for part in (self.a, self.b, self.c):
            part.requires_grad_()
        self.factors = torch.optim.AdamW([self.a, self.b], eps=1e-8)
        self.gate = torch.optim.AdamW([self.c], weight_decay=0.0, eps=1e-8)


class Independent:
    """The method as the paper's code has it, a rank at a time, on matrices that start as PEFT draws them."""

    def __init__(self, weight_decay: float) -> None:
        self.base, self.scale = adapted(SHAPES, MOST).get_base_model(), 8.0 / (MOST + 1e-5)
        self.decay = weight_decay
        self.head = [
            p.detach().clone().requires_grad_() for p in self.base.head.modules_to_save["default"].parameters()
        ]
        weight, bias = self.head
        groups = [{"params": [weight], "weight_decay": weight_decay}, {"params": [bias], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, eps=1e-8)
        self.drawn = [layer.lora_A["default"].detach().clone() for layer in self.base.layers]
        self.ranks = [[self.entering(site, rank) for rank in (0, 1)] for site in range(len(SHAPES))]
        self.frozen = False

    def entering(self, site: int, number: int) -> Rank:
        return Rank(number, self.drawn[site][number].clone(), torch.zeros(SHAPES[site][1]), torch.ones(1))

    def loss(self, batch: Any) -> Tensor:
        x, y = batch
        parts = []
        for layer, held, (width, _) in zip(self.base.layers, self.ranks, SHAPES, strict=True):
            weight = layer.base_layer.weight.detach().clone()
            for rank in held:
                weight = weight + self.scale * rank.c * torch.outer(rank.b, rank.a)
            parts.append(torch.tanh(functional.linear(x[..., :width], weight, layer.base_layer.bias.detach())))
        out = functional.linear(torch.cat(parts, dim=-1), *self.head)
        return functional.cross_entropy(out.flatten(0, 1), y.flatten())

    def step(self, step: int, rate: float, batch: Any) -> None:
        self.loss(batch).backward()
        ranks = [rank for held in self.ranks for rank in held]
        torch.nn.utils.clip_grad_norm_([*self.head, *(p for r in ranks for p in (r.a, r.b, r.c))], 1.0)
        of_gates = rate if self.frozen else TIMES * rate
        optimizers = [(self.optimizer, rate, None), *((r.factors, rate, self.decay) for r in ranks)]
        for optimizer, own, decay in [*optimizers, *((r.gate, of_gates, 0.0) for r in ranks)]:
            for group in optimizer.param_groups:
                group["lr"] = own
                group["weight_decay"] = group["weight_decay"] if decay is None else decay
            optimizer.step()
            optimizer.zero_grad()
        if not self.frozen:
            with torch.no_grad():
                for rank in ranks:
                    rank.c.sub_(of_gates * SPARSITY).clamp_(0, 1)
        if step in MOVES:
            self.move()
            self.frozen = step == MOVES[-1]

    def move(self) -> None:
        spare = CAP - sum(map(len, self.ranks))
        smallest = [min(float(rank.c.detach()) for rank in held) for held in self.ranks]
        for held in self.ranks:
            shut = [rank for rank in held if float(rank.c.detach()) == 0]
            for rank in shut[: len(held) - 1]:
                held.remove(rank)
                spare += 1
        order = sorted((s for s, c in enumerate(smallest) if c > 0), key=lambda s: -smallest[s])
        while spare and any(len(self.ranks[site]) < MOST for site in order):
            for site in order:
                if spare and len(self.ranks[site]) < MOST:
                    free = min(set(range(MOST)) - {rank.number for rank in self.ranks[site]})
                    self.ranks[site].append(self.entering(site, free))
                    spare -= 1
        for held in self.ranks:
            held.sort(key=lambda rank: rank.number)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_every_step_is_that_of_an_independent_implementation(weight_decay: float) -> None:
    core, other, moved = made(weight_decay), Independent(weight_decay), 0
    for step, batch in enumerate(data(), 1):
        rate = core.learning_rate(core.completed)
        core.accumulate(loss_of(core.model, batch))
        moved += core.step().masked
        other.step(step, rate, batch)
        assert core.flat.layout.kept == tuple(tuple(r.number for r in held) for held in other.ranks), step
        for (a, b, c), held in zip(core.flat.factors(core.flat.data), other.ranks, strict=True):
            for place, rank in enumerate(held):
                assert torch.allclose(a[place], rank.a, rtol=1e-3, atol=1e-4), step
                assert torch.allclose(b[:, place], rank.b, rtol=1e-3, atol=1e-4), step
                assert torch.allclose(c[place], rank.c, rtol=1e-3, atol=1e-3), step
    assert moved > 1
    assert sum(core.flat.layout.ranks) == CAP
    assert core.allocator.frozen
    assert len(set(core.flat.layout.ranks)) > 1


def test_gates_learn_faster_than_the_factors_and_stay_between_0_and_1() -> None:
    core = made()
    for batch in data()[: MOVES[0] - 1]:
        core.accumulate(loss_of(core.model, batch))
        core.step()
        assert float(core.flat.singular.min()) >= 0
        assert float(core.flat.singular.max()) <= 1
    assert float((1 - core.flat.singular).abs().max()) > 10 * RATE
