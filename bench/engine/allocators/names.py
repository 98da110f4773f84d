"""The allocators by name: what each does with the ranks, and where it is. Plain data, which imports no torch.

To add one: a module in this folder with a class that derives from `base.Allocator`, and one line in `ALLOCATORS`.
docs/allocators.md goes through it, and tests/allocators/ runs every line here through the same tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# fixed: the same rank in every matrix. pruned: ranks start at the budget's initial rank and are within the cap from the
# freeze on. grown: ranks start below the cap and never exceed it. moved: ranks fill the cap from the first step on, and
# go from one matrix to another. given: known before the first step.
Motion = Literal["fixed", "pruned", "grown", "moved", "given"]

# When ranks that are pruned leave: gradually, along the cubic decay of the rank schedule; all at once at its freeze; or
# all at once after the last step. The budget of a step follows it.
Pruning = Literal["decay", "freeze", "end"]

BOTH = ("lora", "adalora")
SVD = ("adalora",)  # the adapter with singular values E, which can be masked


@dataclass(frozen=True)
class AllocatorFacts:
    """What a study, a plan and the pipeline know of an allocator without building it.

    build: 'module:function' below bench.engine.allocators; the function takes (FlatParameters, RankSchedule,
    AllocatorOptions) and returns the allocator (`registry.Builder`). adapters: those whose ranks it can move. uneven:
    where ranks grow, whether some matrices may grow more than others, up to the ceiling of the block `growth`.
    averages: bytes that it keeps per element of the adapter while ranks move; None: as the method's `importance` says.
    held_out: whether it watches the loss on rows that are held out. pruning: when ranks that are pruned leave. sparse:
    whether it knows the method's `sparsity`, an L1 penalty on the singular values. salience: whether it takes the
    method's `salience`. reserve: whether each matrix may hold a rank, while ranks grow, that trains but does not count.
    gates: whether it takes the method's `gates`.
    """

    build: str
    ranks: Motion
    adapters: tuple[str, ...] = BOTH
    uneven: bool = False
    averages: int | None = 0
    held_out: bool = False
    pruning: Pruning = "decay"
    sparse: bool = False
    salience: bool = False
    reserve: bool = False
    gates: bool = False


ALLOCATORS: dict[str, AllocatorFacts] = {
    "fixed": AllocatorFacts("base:fixed", "fixed"),
    "given": AllocatorFacts("given:Given", "given"),
    "adalora": AllocatorFacts("adalora:adalora", "pruned", SVD, averages=None),
    "truncated": AllocatorFacts("truncated:truncated", "pruned", pruning="freeze"),
    "truncated_end": AllocatorFacts("truncated:truncated_end", "pruned", pruning="end"),
    "sora": AllocatorFacts("sora:Sora", "pruned", SVD, pruning="freeze", sparse=True),
    "snr": AllocatorFacts("snr:snr", "pruned", SVD),
    "salientlora": AllocatorFacts("salientlora:salientlora", "pruned", SVD, salience=True),
    "elalora": AllocatorFacts("elalora:elalora", "moved", SVD, averages=8),
    "l1ra": AllocatorFacts("l1ra:l1ra", "moved", SVD, gates=True),
    "plateau": AllocatorFacts("growing:plateau", "grown", held_out=True),
    "interval": AllocatorFacts("growing:interval", "grown"),
    "random": AllocatorFacts("growing:random_steps", "grown"),
    "increlora": AllocatorFacts("growing:increlora", "grown", SVD, uneven=True, averages=8),
    "increlora_reserve": AllocatorFacts(
        "reserve:increlora_reserve", "grown", SVD, uneven=True, averages=8, reserve=True
    ),
}
