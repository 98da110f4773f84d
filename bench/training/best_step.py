"""Which step is reported: the last one, or the one with the lowest loss on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.config.cell import Cell
from bench.engine.step import Core


@dataclass
class BestStep:
    """Keeps the parameters of the step with the lowest held-out loss so far, among the steps `checks`.

    If two losses are equal, the earlier step stays. Steps before the ranks reach the final budget are not checked: a
    model above its budget could not be reported. `live`: which of the `kept` ranks count, those of IncreLoRA's reserve
    for example do not.
    """

    core: Core
    checks: frozenset[int]
    step: int | None = None
    loss: float | None = None
    kept: list[list[int]] = field(default_factory=list)
    live: list[list[int]] = field(default_factory=list)
    parameters: Tensor | None = None

    @classmethod
    def of(cls, core: Core, cell: Cell) -> BestStep | None:
        """For a cell that reports its best step; None for one that reports its last."""
        if cell.selection == "last":
            return None
        total, count = core.schedule.total_steps, cell.recipe.validations
        checks = {max(1, round(total * k / count)) for k in range(1, count + 1)}
        first = core.schedule.freezes_at if core.schedule.prunes else 0
        return cls(core, frozenset(step for step in checks if step >= first))

    def due(self) -> bool:
        """Whether the held-out loss is wanted after the step just made."""
        return self.core.completed in self.checks

    def offer(self, loss: float) -> None:
        """Keep the present parameters if `loss` is the lowest so far. NaN and infinity never are."""
        if loss < (float("inf") if self.loss is None else self.loss):
            layout, mask = self.core.flat.layout, self.core.budget_mask()
            self.step, self.loss = self.core.completed, loss
            self.kept = [list(ranks) for ranks in layout.kept]
            self.live = self.kept if mask is None else [list(ranks) for ranks in layout.kept_by(mask.tolist())]
            self.parameters = self.core.flat.data.clone()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def restore(self) -> None:
        """Give the model the parameters of the best step. Does nothing if no loss was finite."""
        if self.parameters is not None:
            flat, live = self.core.flat, tuple(tuple(ranks) for ranks in self.live)
            flat.reshape(tuple(tuple(ranks) for ranks in self.kept))
            flat.data.copy_(self.parameters)
            flat.fold()
            mask = self.core.budget_mask()
            if live != (flat.layout.kept if mask is None else flat.layout.kept_by(mask.tolist())):
                flat.rebuild(live)  # the budget of the last step has no mask for the ranks of the best one

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint keeps: tensors and plain JSON."""
        tensors = {} if self.parameters is None else {"best.parameters": self.parameters}
        return tensors, {"step": self.step, "loss": self.loss, "kept": self.kept, "live": self.live}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        self.step, self.loss, self.kept = plain["step"], plain["loss"], plain["kept"]
        self.live = plain.get("live", self.kept)  # older checkpoints do not tell them apart
        kept = tensors.get("best.parameters")
        self.parameters = None if kept is None else kept.to(self.core.flat.device).clone()
