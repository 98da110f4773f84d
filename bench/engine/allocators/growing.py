"""Ranks that grow: in every matrix alike when a trigger fires, or first where importance is highest (IncreLoRA).

The layers are made for the largest rank, which fixes the scale of the adapter once and for all; the flat parameters
hold the first `start_rank` ranks of each. A new rank enters with the values that PEFT's initialization drew for it
before the training. Its B (or E) is zero, so growth changes no output. Its optimizer state is fresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.engine.allocators.base import Allocator, StepFacts
from bench.engine.allocators.triggers import AtSteps, Plateau, Trigger, at_random, evenly
from bench.engine.carry import carry
from bench.engine.flat import FlatParameters
from bench.engine.importance import Importance
from bench.engine.layout import Kept, Layout
from bench.engine.options import AllocatorOptions, GrowthOptions
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError


class Growing(Allocator):
    """Lets the ranks of `flat`, which at first holds the largest ones, grow to `cap` ranks over all matrices.

    After each of the steps `growth.checks` the `trigger` is asked. If it fires, every matrix gains
    `growth.ranks_per_growth` ranks, as long as all of them together stay within `cap`.
    """

    def __init__(self, flat: FlatParameters, growth: GrowthOptions, trigger: Trigger, cap: int) -> None:
        self._flat, self._growth, self._trigger, self._cap = flat, growth, trigger, cap
        self._checks, self._last = frozenset(growth.checks), max(growth.checks)
        # What PEFT drew for every rank up to the largest. New ranks take their values from here, so that the values do
        # not depend on when a rank enters.
        self._full = flat.layout
        self._drawn = flat.data[: flat.layout.adapter_elements].clone()
        self._ranks = [min(growth.start_rank, rank) for rank in flat.layout.ranks]
        self._growths: list[dict[str, Any]] = []
        self.frozen = False

    def after_step(self, step: int, facts: StepFacts) -> bool:  # noqa: ARG002
        if self.frozen or self._trigger.watches:
            return False
        return self._check(step, None)

    def watches(self, step: int) -> bool:
        return self._trigger.watches and not self.frozen and step in self._checks

    def after_validation(self, step: int, loss: float) -> bool:
        return not self.frozen and self._check(step, loss)

    def kept(self) -> Kept | None:
        return tuple(tuple(range(rank)) for rank in self._ranks)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def follow_layout(self, old: Layout) -> None:
        new = self._flat.layout
        places = torch.tensor(new.elements_of(new.new_since(old)), device=self._flat.device, dtype=torch.long)
        drawn = carry(self._drawn, self._full, new)
        self._flat.data[places] = drawn[places]

    def growths(self) -> list[dict[str, Any]]:
        return list(self._growths)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {
            "ranks": list(self._ranks),
            "frozen": self.frozen,
            "growths": list(self._growths),
            "trigger": self._trigger.state(),
        }

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:  # noqa: ARG002
        self._ranks, self.frozen = list(plain["ranks"]), bool(plain["frozen"])
        self._growths = list(plain["growths"])
        self._trigger.load(plain["trigger"])

    def _check(self, step: int, loss: float | None) -> bool:
        reason = self._trigger.fires(step, loss) if step in self._checks else None
        grown = reason is not None and self._grow(step)
        if grown:
            event = {"step": step, "ranks": sum(self._ranks), "reason": reason}
            self._growths.append(event if loss is None else {**event, "loss": loss})
        # No later check can change anything: `frozen` lets evaluations of held-out rows stop.
        self.frozen = step >= self._last or not self._room()
        return grown

    def _grow(self, step: int) -> bool:  # noqa: ARG002
        """Give every matrix equally many new ranks. Returns whether there was room for any."""
        more = min(self._growth.ranks_per_growth, self._room())
        self._ranks = [rank + more for rank in self._ranks]
        return more > 0

    def _room(self) -> int:
        """How many ranks every matrix can still get."""
        below = min(most - rank for most, rank in zip(self._full.ranks, self._ranks, strict=True))
        return min(below, (self._cap - sum(self._ranks)) // len(self._ranks))


class IncreLora(Growing):
    """IncreLoRA (Zhang et al. 2023, arXiv 2308.12043): at every check the matrices of highest importance gain a rank.

    The ranks to give are spread evenly over the checks. A matrix's importance is the mean of AdaLoRA's importance over
    its ranks. The paper also trains a reserve rank ahead of its use: `reserve.IncreLoraReserve` does it.
    """

    def __init__(
        self,
        flat: FlatParameters,
        growth: GrowthOptions,
        trigger: Trigger,
        cap: int,
        betas: tuple[float, float],
    ) -> None:
        super().__init__(flat, growth, trigger, cap)
        self._order = sorted(growth.checks)
        self._start = sum(self._ranks)
        self._betas = betas
        self._importance = Importance(flat, "sensitivity-uncertainty", betas)

    def after_step(self, step: int, facts: StepFacts) -> bool:
        if not self.frozen:
            self._importance.update(facts.finite, None, facts.hold)
        return super().after_step(step, facts)

    def follow_layout(self, old: Layout) -> None:
        super().follow_layout(old)
        self._importance.carry(old)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, plain = super().state()
        return {**tensors, **self._importance.tensors}, plain

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        super().load(tensors, plain)
        self._importance = Importance(self._flat, "sensitivity-uncertainty", self._betas)
        self._importance.load(tensors)

    def bytes(self) -> int:
        return self._importance.bytes()

    def _grow(self, step: int) -> bool:
        """Give one rank to each of the most important matrices below their ceiling; among equals the first ones win."""
        done = self._order.index(step) + 1
        due = self._start + (self._cap - self._start) * done // len(self._order) - sum(self._ranks)
        scores = self._scores()
        below = [site for site, most in enumerate(self._full.ranks) if self._ranks[site] < most]
        chosen = sorted(below, key=lambda site: (-scores[site], site))[: max(0, due)]
        for site in chosen:
            self._ranks[site] += 1
        return bool(chosen)

    def _room(self) -> int:
        below = sum(most - rank for most, rank in zip(self._full.ranks, self._ranks, strict=True))
        return min(below, self._cap - sum(self._ranks))

    def _scores(self) -> list[float]:
        """The mean importance of the ranks of each matrix that count."""
        scores, first_triplets = self._importance.of_triplets().tolist(), self._flat.layout.first_triplets
        return [
            sum(scores[first : first + rank]) / rank for first, rank in zip(first_triplets, self._ranks, strict=True)
        ]


def plateau(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """All matrices grow alike, when the loss on held-out rows stands still."""
    growth = growth_of(options)
    return Growing(flat, growth, Plateau(growth.patience, growth.margin), schedule.target_budget)


def interval(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """All matrices grow alike, at evenly spread steps."""
    growth = growth_of(options)
    steps = evenly(sorted(growth.checks), _growths_needed(flat, growth, schedule))
    return Growing(flat, growth, AtSteps(steps, "evenly spread steps"), schedule.target_budget)


def random_steps(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """All matrices grow alike, at steps that the seed draws."""
    growth = growth_of(options)
    steps = at_random(sorted(growth.checks), _growths_needed(flat, growth, schedule), options.seed)
    return Growing(flat, growth, AtSteps(steps, "random steps"), schedule.target_budget)


def increlora(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """The most important matrices grow at every check."""
    growth = growth_of(options)
    every_check = AtSteps(growth.checks, "the most important matrices")
    return IncreLora(flat, growth, every_check, schedule.target_budget, options.importance_betas)


def growth_of(options: AllocatorOptions) -> GrowthOptions:
    """Raises BenchError without any."""
    if options.growth is None:
        raise BenchError(f"allocator {options.name!r} lets ranks grow: it needs growth options")
    return options.growth


def _growths_needed(flat: FlatParameters, growth: GrowthOptions, schedule: RankSchedule) -> int:
    """How many growths fill the budget, if every matrix grows alike."""
    missing = schedule.target_budget // len(flat.layout.sites) - growth.start_rank
    return -(-missing // growth.ranks_per_growth)
