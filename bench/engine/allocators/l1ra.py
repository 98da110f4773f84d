"""L1RA (Singh et al. 2025, arXiv 2509.04884): ranks whose gate an L1 penalty has shut move to other matrices.

The update of a matrix is B diag(c) A with a gate 0 <= c <= 1 per rank, the adapter's singular value. Gates start at 1
and learn at a rate of their own, k times that of the factors:

    c <- clip(c + k (AdamW's step of c) - k rate lambda, 0, 1)

Every so often ranks whose gate is 0 leave. Matrices that have lost none get as many new ranks, one each in turn, first
where the smallest gate is widest open. A new rank starts with its gate at 1 and B at zero, so it changes no output.
After the last move, when a shut rank could not be replaced any more, gates train on as all other parameters do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.engine.allocators.base import Allocator, StepFacts
from bench.engine.allocators.moves import even_steps, move_shut_ranks
from bench.engine.allocators.sora import start_gates
from bench.engine.carry import carry
from bench.engine.flat import FlatParameters
from bench.engine.layout import Kept, Layout
from bench.engine.options import AllocatorOptions, GatesOptions
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError


class L1ra(Allocator):
    """Moves ranks of `flat`, which at first holds the largest ones, between the outer phases of `schedule`.

    All matrices together hold the budget of `schedule`, in ranks; how a gate that the core's one optimizer has moved is
    moved on is told by `gates`. weight_decay: the optimizer's, which is taken back, since it is no part of the method.
    Raises BenchError if the budget has no rank for every matrix.
    """

    def __init__(self, flat: FlatParameters, schedule: RankSchedule, gates: GatesOptions, weight_decay: float) -> None:
        self._flat, self._schedule, self._gates, self._decay = flat, schedule, gates, weight_decay
        sites = len(flat.layout.sites)
        if schedule.target_budget < sites:
            raise BenchError(f"{sites} matrices start with a rank each, the budget is {schedule.target_budget} ranks")
        start_gates(flat, torch.ones(flat.layout.triplets, device=flat.device))
        # What PEFT drew for every rank up to the largest: a new rank's values do not depend on when it enters.
        self._full, self._drawn = flat.layout, flat.data[: flat.layout.adapter_elements].clone()
        self._kept: Kept = tuple(ranks[: schedule.target_budget // sites] for ranks in flat.layout.kept)
        self._before = flat.singular.clone()  # the gates as the last step left them
        self._at = even_steps(schedule, gates.times)
        self._moves: list[dict[str, Any]] = []
        self.frozen = False

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def after_step(self, step: int, facts: StepFacts) -> bool:
        if self.frozen:
            return False
        self._open_and_shut(facts)
        self.frozen = step >= max(self._at)
        if step not in self._at:
            return False
        spare = self._schedule.target_budget - self._flat.layout.triplets
        move = move_shut_ranks(self._flat.layout, self._full, self._flat.singular.tolist(), spare=spare)
        if not move.added:
            return False
        self._kept = move.kept
        reason = f"ranks with a shut gate: {move.pruned}; added where all gates are open: {move.added}"
        self._moves.append({"step": step, "ranks": sum(map(len, move.kept)), "reason": reason})
        return True

    def kept(self) -> Kept:
        return self._kept

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def follow_layout(self, old: Layout) -> None:
        layout = self._flat.layout
        places = torch.tensor(layout.elements_of(layout.new_since(old)), device=self._flat.device, dtype=torch.long)
        self._flat.data[places] = carry(self._drawn, self._full, layout)[places]
        self._before = self._flat.singular.clone()

    def growths(self) -> list[dict[str, Any]]:
        return list(self._moves)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        kept = [list(ranks) for ranks in self._kept]
        return {}, {"kept": kept, "frozen": self.frozen, "moves": list(self._moves)}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:  # noqa: ARG002
        self._kept = tuple(tuple(ranks) for ranks in plain["kept"])
        self.frozen, self._moves = bool(plain["frozen"]), list(plain["moves"])
        self._before = self._flat.singular.clone()

    def _open_and_shut(self, facts: StepFacts) -> None:
        """Move the gates on. A skipped step moves none, and no step those of a matrix that got no gradient."""
        gates, before, times = self._flat.singular, self._before, self._gates.rate
        first = self._flat.layout.row_elements
        held = [(part, self._flat.data[part].clone()) for part in facts.hold if part.start >= first]
        step = gates - before + before * (facts.finite * (facts.rate * self._decay))
        moved = before + times * step - facts.finite * (times * facts.rate * self._gates.sparsity)
        gates.copy_(moved.clamp_(0, 1))
        for part, value in held:
            self._flat.data[part] = value
        before.copy_(gates)


def l1ra(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """Ranks with shut gates move. Raises BenchError if the budget is counted in parameters."""
    if options.unit != "ranks":
        raise BenchError(f"allocator {options.name!r} counts ranks: the unit must be ranks, not {options.unit}")
    return L1ra(flat, schedule, options.gates or GatesOptions(), options.weight_decay)
