"""The rank schedule: how many ranks (or parameters) the adapter may hold after each optimizer step.

Source: Zhang et al. 2023 (AdaLoRA, https://openreview.net/pdf?id=lq62uWRJjiY), section 3.3. Plain numbers, no tensors,
so that a schedule can be checked before anything is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class RankSchedule:
    """The budget b(t) of a training in three phases.

    The first `initial_steps` (t_i) steps have `initial_budget`; then a cubic decay follows, with a new mask every
    `interval` (delta T) steps; the last `final_steps` (t_f) steps have `target_budget`. Budgets are totals over all
    adapted matrices, counted in ranks or in parameters (the allocator's unit).

    A step is the number of optimizer steps made so far, 1 to `total_steps` (T). The last step always has the target
    budget, also where `final_steps` is 0. A target that equals the initial budget is legal: then nothing is pruned.

    Raises ValueError if a number is out of its range, if the target is above the initial budget, or if the phases leave
    no step to prune in.

    Example:
        >>> schedule = RankSchedule(initial_budget=24, target_budget=8, initial_steps=10, final_steps=20,
        ...                         interval=5, total_steps=100)
        >>> schedule.budget(1), schedule.budget(50), schedule.budget(100)
        (24, 9, 8)
    """

    initial_budget: int
    target_budget: int
    initial_steps: int = 0
    final_steps: int = 0
    interval: int = 1
    total_steps: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{field.name}: expected a whole number, found {value!r}")
            may_be_zero = field.name in ("initial_steps", "final_steps")
            if value < (0 if may_be_zero else 1):
                bound = "greater than or equal to 0" if may_be_zero else "greater than 0"
                raise ValueError(f"{field.name}: expected a number {bound}, found {value}")
        if self.target_budget > self.initial_budget:
            raise ValueError(f"target budget {self.target_budget} is larger than initial budget {self.initial_budget}")
        if self.prunes:
            fault = no_step_to_prune(self.initial_steps, self.final_steps, self.total_steps)
            if fault:
                raise ValueError(fault)

    @property
    def prunes(self) -> bool:
        """Whether any rank is ever removed."""
        return self.target_budget < self.initial_budget

    @property
    def freezes_at(self) -> int:
        """The step (T - t_f) after which ranks no longer change."""
        return self.total_steps - self.final_steps

    def budget(self, step: int) -> int:
        """The total that may live after `step` optimizer steps.

        This is not equation 12 of the paper as printed (14 in its first arXiv version), but what its text describes and
        the authors' code computes: 1 - (t - t_i) / (T - t_i - t_f), cubed, so that the decay runs from the initial
        budget at t_i to the target at T - t_f. The printed numerator is t - t_i - t_f: with t_i = 0.1 T and
        t_f = 0.3 T, a decay from 288 to 144 ranks would start at 630 and never reach 144 (162 at T - t_f).
        """
        if step <= self.initial_steps or not self.prunes:
            return self.initial_budget
        if step >= self.freezes_at:
            return self.target_budget
        remaining = 1 - (step - self.initial_steps) / (self.freezes_at - self.initial_steps)
        return int((self.initial_budget - self.target_budget) * remaining**3 + self.target_budget)

    def is_mask_step(self, step: int) -> bool:
        """Whether ranks are chosen anew after `step`: every `interval` steps of the decay, and at its end."""
        if not self.prunes or not self.initial_steps < step <= self.freezes_at:
            return False
        return step % self.interval == 0 or step == self.freezes_at


def no_step_to_prune(initial_steps: int, final_steps: int, total_steps: int) -> str | None:
    """What is wrong with phases that leave no step between them; None if there is one."""
    if initial_steps + final_steps < total_steps:
        return None
    return (
        f"no step is left to prune in: initial_steps {initial_steps} + final_steps {final_steps} "
        f">= total_steps {total_steps}"
    )
