"""Allocators that are broken on purpose, one fault each: they show that the contracts see it."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from registry_cases import Added, Case

from bench.engine.allocators.base import Allocator
from bench.engine.allocators.cut import Cut
from bench.engine.allocators.growing import Growing
from bench.engine.allocators.names import SVD, AllocatorFacts
from bench.engine.allocators.triggers import AtSteps


class Pruning(Allocator):
    """Prunes the ranks whose singular value mattered least on average. Nothing is wrong with it."""

    def __init__(self, flat: Any, schedule: Any, options: Any) -> None:
        self.flat, self.schedule, self.compact = flat, schedule, options.compact
        self.cut = Cut(flat, options.unit)
        self.average = torch.zeros(flat.layout.adapter_elements)
        self.pruned: Any = None  # the last mask, until the ranks that it prunes leave
        self.decided = 0
        self.frozen = False

    def after_step(self, step: int, facts: Any) -> bool:
        if self.frozen:
            self.prune()
            return False
        mattered = (self.flat.data * self.flat.grad)[: len(self.average)].abs().nan_to_num(0, 0, 0)
        self.average.lerp_(mattered, facts.finite * 0.2)
        if not self.schedule.is_mask_step(step):
            return False
        self.pruned, self.decided, self.frozen = self.mask(step), step, step == self.schedule.freezes_at
        self.prune()
        if self.frozen:
            self.average = torch.zeros(0)
        return True

    def scores(self) -> Any:
        return self.average[self.flat.layout.row_elements :]

    def mask(self, step: int) -> Any:
        if self.frozen or step == self.decided:
            return self.pruned
        budget = self.schedule.budget(step)
        return None if budget >= self.schedule.initial_budget else self.cut.mask(self.scores(), budget)

    def prune(self) -> None:
        if self.pruned is not None:
            self.flat.singular.mul_(self.pruned)

    def kept(self) -> Any:
        ready = self.frozen and self.compact and self.pruned is not None
        return self.flat.layout.kept_by(self.pruned.tolist()) if ready else None

    def follow_layout(self, old: Any) -> None:  # noqa: ARG002
        self.pruned = None

    def state(self) -> Any:
        return {"average": self.average, **({} if self.pruned is None else {"mask": self.pruned})}, {
            "frozen": self.frozen
        }

    def load(self, tensors: Any, plain: Any) -> None:
        self.average, self.pruned = tensors["average"].clone(), tensors.get("mask")
        self.frozen, self.decided = plain["frozen"], 0

    def bytes(self) -> int:
        return 4 * self.average.numel()


class OneTooMany(Pruning):
    """It keeps one rank more than the budget."""

    def mask(self, step: int) -> Any:
        mask = super().mask(step)
        if mask is not None and int(mask.sum()) <= self.schedule.budget(step):
            mask = mask.clone()
            mask[(~mask).nonzero()[0]] = True
        return mask


class Idle(Pruning):
    """One rank that it counts as live does nothing."""

    def after_step(self, step: int, facts: Any) -> bool:
        changed = super().after_step(step, facts)
        if step == self.schedule.total_steps:
            self.flat.singular[0] = 0
        return changed


class Unseeded(Pruning):
    """It prunes at random, by the generator of the whole program."""

    def scores(self) -> Any:
        if not hasattr(self, "drawn"):
            self.drawn = torch.tensor([random.random() for _ in self.flat.singular])
        return self.drawn


class Unmasked(Pruning):
    """It chooses a mask and leaves the values of the pruned ranks as they are."""

    def prune(self) -> None:
        pass


class Forgetful(Pruning):
    """It does not take its averages from a checkpoint."""

    def load(self, tensors: Any, plain: Any) -> None:
        super().load(tensors, plain)
        self.average.zero_()


class Gullible(Pruning):
    """It takes a skipped step in as if it had been made."""

    def after_step(self, step: int, facts: Any) -> bool:
        return super().after_step(step, replace(facts, finite=torch.ones_like(facts.finite)))


class Hoarding(Pruning):
    """Its window of steps keeps something of the loss of a skipped one."""

    window = torch.zeros(0, 1)

    def after_step(self, step: int, facts: Any) -> bool:
        self.window = torch.cat([self.window, facts.loss.nan_to_num(0, 1, -1).view(1, 1)])
        return super().after_step(step, facts)

    def state(self) -> Any:
        tensors, plain = super().state()
        return {**tensors, "window": self.window}, plain

    def load(self, tensors: Any, plain: Any) -> None:
        super().load(tensors, plain)
        self.window = tensors["window"].clone()


class Impatient(Pruning):
    """It reads the loss from the device after every step."""

    def after_step(self, step: int, facts: Any) -> bool:
        self.last = facts.loss.item()
        return super().after_step(step, facts)


class Secretive(Pruning):
    """It says that its averages take nothing."""

    def bytes(self) -> int:
        return 0


class OnRounding(Pruning):
    """It chooses ranks by the last bits of its averages."""

    def scores(self) -> Any:
        bits = super().scores().contiguous().view(torch.int32)
        return ((bits * 2654435761) % 1013).float()


class ByProcess(Pruning):
    """Each process chooses ranks of its own."""

    def scores(self) -> Any:
        return super().scores().roll(int(os.environ.get("RANK", "0")))


class OnWeights(Pruning):
    """It reads the weights of the base as if they were always numbers of 32 bits."""

    def scores(self) -> Any:
        pairs, layers = self.flat.layout.ranks_of_triplets, self.flat._layers
        return torch.stack([layers[site].base_layer.weight.view(torch.float32).mean() for site, _ in pairs])


class Rescaling(Pruning):
    """When ranks are final, it multiplies what the adapter adds, which no file says."""

    def after_step(self, step: int, facts: Any) -> bool:
        changed = super().after_step(step, facts)
        if changed and self.frozen:
            for site in self.flat.sites:
                site.scale *= 1.5
        return changed


class GrowingLoudly(Growing):
    """The B of a new rank is not zero."""

    def __init__(self, flat: Any, schedule: Any, options: Any) -> None:
        super().__init__(flat, options.growth, AtSteps(options.growth.checks, "each check"), schedule.target_budget)

    def follow_layout(self, old: Any) -> None:
        super().follow_layout(old)
        new = self._flat.layout
        self._flat.data[torch.tensor(new.elements_of(new.new_since(old)), dtype=torch.long)] = 0.3


class GrowingApart(GrowingLoudly):
    """One matrix grows alone, where the line does not say that matrices grow apart."""

    def follow_layout(self, old: Any) -> None:
        Growing.follow_layout(self, old)

    def _grow(self, step: int) -> bool:  # noqa: ARG002
        room = self._ranks[0] < self._full.ranks[0] and sum(self._ranks) < self._cap
        self._ranks[0] += room
        return room


HERE = Path(__file__).parent

# What each breaks, by the names of `contracts.CONTRACTS`, and words of a sentence that says it. The contract `nf4` has
# budget and counts in it; what two equal trainings don't decide alike, an interrupted one does not decide alike either.
BROKEN: dict[type, tuple[set[str], str]] = {
    OneTooMany: ({"budget", "nf4"}, "14 ranks live after step 4, the budget is 13"),
    Idle: ({"counts", "nf4"}, "counted as live at the end, but their tensors are zero"),
    Unseeded: ({"equal decisions", "resume", "accumulation"}, "two equal trainings decide apart after step"),
    GrowingLoudly: ({"growth"}, "the ranks that entered after step 2 change outputs"),
    Unmasked: ({"pruned are zero"}, "(not compacted): pruned ranks still count after step 11, though ranks are frozen"),
    Forgetful: ({"resume"}, "it goes on differently at step"),
    OnRounding: ({"accumulation"}, "micro-batches decide otherwise than the whole batch"),
    Gullible: ({"skipped step"}, ", and changes allocator.average"),
    Hoarding: ({"skipped step"}, "and something of its gradient stands in ['allocator.window']"),
    Impatient: ({"no waits"}, "the host waits 1 times in step 1, in which no rank changes"),
    Secretive: ({"bytes"}, "bytes as long as the adapter, it tells 0"),
    OnWeights: ({"nf4"}, "(nf4): its training fails with RuntimeError"),
    GrowingApart: ({"line"}, "its line does not say `uneven`"),
    Rescaling: ({"pruned are zero", "resume"}, "outputs are not those of the live ranks alone"),
}


def added(broken: type) -> tuple[Added, Case]:
    """The line of a broken allocator, and its case: on LoRA where it grows, else on AdaLoRA."""
    grows = issubclass(broken, Growing)
    build = f"broken_allocators:{broken.__name__}"
    facts = AllocatorFacts(build, "grown") if grows else AllocatorFacts(build, "pruned", SVD, averages=4)
    name = broken.__name__.lower()
    return Added(name, facts, HERE), Case(name, "lora" if grows else "adalora")
