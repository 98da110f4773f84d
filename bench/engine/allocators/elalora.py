"""Ranks that move from unimportant matrices to important ones while their number stays the same: ElaLoRA.

Chang et al. 2025 (ElaLoRA, arXiv 2504.00254) train the increment P Lambda Q with AdaLoRA's smoothed importance of every
rank (there equations 7 to 11). Every matrix starts at the average rank of the budget. After a warm-up, every so many
steps, b(t) ranks are pruned and as many are added; in the last phase nothing moves. With t counted from the end of the
warm-up to the beginning of the last phase,

    p = (t - warm-up) / (steps - last phase - warm-up),    b(t) = round(b (1 - p^3)).

At a move the k least important ranks of every matrix are put in one order. The b(t) lowest of them are pruned. The
b(t) highest each give their own matrix a new rank: a matrix gains where even its least important ranks matter. So no
matrix loses or gains more than k. A new rank's vectors are made orthogonal to those of its matrix (Gram-Schmidt); its
singular value is zero, so that it changes no output.

What differs from the paper and its code, or is not said there:

- The outer phases are those of the recipe's `rank_schedule`, as AdaLoRA's, so that both decide over the same steps. In
  between, moves are told by their number, so that a shorter training makes as many.
- No matrix loses its last rank: without any it would have no importance and could never come back. None exceeds the
  rank that its layer was made for, since the scale alpha / rank of the layers is fixed by it.
- A rank moves only from a lower to a higher importance, and a matrix that has lost ranks gains none in the same move;
  such moves would undo themselves. Where this leaves fewer matrices that can gain, fewer ranks are pruned.
- If the average rank of the budget is a fraction, matrices start at its whole part, and the first moves give the rest.
- A new rank's singular value is exactly zero where the code starts it at 1e-13 or below; its vectors have length 1, as
  the orthogonality penalty asks of all. The code's bare `except`, which stops in a debugger, has no counterpart.
- Averages and Adam's moments of a new rank start at zero and count their own steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.engine.allocators.base import Allocator, StepFacts
from bench.engine.allocators.moves import choose_move, even_steps
from bench.engine.carry import carry
from bench.engine.flat import FlatParameters
from bench.engine.importance import Importance
from bench.engine.layout import Kept, Layout
from bench.engine.options import AllocatorOptions, MovingOptions
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError


class ElaLora(Allocator):
    """Moves ranks of `flat`, which at first holds the largest ones, along the phases of `schedule`.

    All matrices together hold at most the budget of `schedule`, in ranks. betas: of the averages of the importance.
    Raises BenchError if the budget has no rank for every matrix.
    """

    def __init__(
        self, flat: FlatParameters, schedule: RankSchedule, moving: MovingOptions, betas: tuple[float, float]
    ) -> None:
        self._flat, self._schedule, self._moving, self._betas = flat, schedule, moving, betas
        sites = len(flat.layout.sites)
        if schedule.target_budget < sites:
            raise BenchError(f"{sites} matrices start with a rank each, the budget is {schedule.target_budget} ranks")
        # What PEFT drew for every rank up to the largest: a new rank's values do not depend on when it enters.
        self._full, self._drawn = flat.layout, flat.data[: flat.layout.adapter_elements].clone()
        start = schedule.target_budget // sites
        self._kept: Kept = tuple(ranks[:start] for ranks in flat.layout.kept)
        self._importance: Importance | None = Importance(flat, "sensitivity-uncertainty", betas)
        self._moves: list[dict[str, Any]] = []
        self._at = even_steps(schedule, moving.times)
        self.frozen = False

    def after_step(self, step: int, facts: StepFacts) -> bool:
        first, last = self._schedule.initial_steps, self._schedule.freezes_at
        if self._importance is None:
            return False
        if step >= last:
            self.frozen, self._importance = True, None  # the averages are not needed any more
            return False
        self._importance.update(facts.finite, None, facts.hold)
        if step <= first or step not in self._at:
            return False
        most = round(self._moving.ranks * (1 - ((step - first) / (last - first)) ** 3))
        return self._move(step, most, self._importance.of_triplets().tolist())

    def kept(self) -> Kept:
        return self._kept

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def follow_layout(self, old: Layout) -> None:
        layout = self._flat.layout
        new = layout.new_since(old)
        places = torch.tensor(layout.elements_of(new), device=self._flat.device, dtype=torch.long)
        self._flat.data[places] = carry(self._drawn, self._full, layout)[places]
        for site, (a, b, e) in enumerate(self._flat.factors(self._flat.data)):
            entered = [layout.kept[site].index(rank) for rank in new[site]]
            for count, place in enumerate(entered):
                e[place] = 0.0
                others = [k for k in range(len(a)) if k not in entered[count:]]
                a[place] = _orthogonal(a[place], a[others])
                b[:, place] = _orthogonal(b[:, place], b[:, others].t())
        if self._importance is not None:
            self._importance.carry(old)

    def growths(self) -> list[dict[str, Any]]:
        return list(self._moves)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {} if self._importance is None else dict(self._importance.tensors)
        return tensors, {
            "kept": [list(ranks) for ranks in self._kept],
            "frozen": self.frozen,
            "moves": list(self._moves),
        }

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        self._kept = tuple(tuple(ranks) for ranks in plain["kept"])
        self.frozen, self._moves = bool(plain["frozen"]), list(plain["moves"])
        self._importance = None if self.frozen else Importance(self._flat, "sensitivity-uncertainty", self._betas)
        if self._importance is not None:
            self._importance.load(tensors)

    def bytes(self) -> int:
        return 0 if self._importance is None else self._importance.bytes()

    def _move(self, step: int, most: int, scores: list[float]) -> bool:
        """Move at most `most` ranks by their `scores` [triplets]. Returns whether any moved."""
        layout, spare = self._flat.layout, self._schedule.target_budget - self._flat.layout.triplets
        move = choose_move(layout, self._full, scores, most=most, per_matrix=self._moving.per_matrix, spare=spare)
        if move.kept == layout.kept:
            return False
        self._kept = move.kept
        reason = f"ranks pruned: {move.pruned}; added where even unimportant ranks matter: {move.added}"
        self._moves.append({"step": step, "ranks": sum(map(len, move.kept)), "reason": reason})
        return True


def elalora(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """Ranks move along the phases of `schedule`. Raises BenchError if the budget is counted in parameters."""
    if options.unit != "ranks":
        raise BenchError(f"allocator {options.name!r} counts ranks: the unit must be ranks, not {options.unit}")
    return ElaLora(flat, schedule, options.moving or MovingOptions(), options.importance_betas)


def _orthogonal(vector: Tensor, rows: Tensor) -> Tensor:
    """`vector` [n] without its share of the span of `rows` [m, n], with length 1; itself if nothing else is left."""
    if len(rows) == 0:
        return vector / torch.linalg.vector_norm(vector)
    basis = torch.linalg.qr(rows.t()).Q
    rest = vector - basis @ (basis.t() @ vector)
    rest = rest - basis @ (basis.t() @ rest)  # twice is enough, for rounding
    length = torch.linalg.vector_norm(rest)
    enough = length > 1e-4 * torch.linalg.vector_norm(vector)
    return torch.where(enough, rest / length, vector / torch.linalg.vector_norm(vector))
