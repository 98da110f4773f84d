"""When ranks grow: at a plateau of the loss on held-out rows, or at steps that are fixed beforehand."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Any


class Plateau:
    """Fires if the held-out loss has not improved for `patience` checks in a row; then it counts from 0 again.

    A loss improves if it is lower than the best so far by more than the share `margin` of it. A loss that is not finite
    never improves.
    """

    watches = True

    def __init__(self, patience: int, margin: float) -> None:
        self._patience, self._margin = patience, margin
        self._best: float | None = None
        self._stale = 0

    def fires(self, step: int, loss: float | None) -> str | None:  # noqa: ARG002
        """Called at each check in turn. Returns why ranks grow now, or None."""
        assert loss is not None  # guaranteed by `watches`
        improved = loss < float("inf") if self._best is None else loss < self._best - self._margin * abs(self._best)
        if improved:
            self._best, self._stale = loss, 0
            return None
        self._stale += 1
        if self._stale < self._patience:
            return None
        self._stale = 0
        best = "none so far" if self._best is None else f"{self._best:.6g}"
        return f"held-out loss {loss:.6g}, best {best}: no better for {self._patience} checks"

    def state(self) -> dict[str, Any]:
        return {"best": self._best, "stale": self._stale}

    def load(self, plain: dict[str, Any]) -> None:
        self._best, self._stale = plain["best"], int(plain["stale"])


class AtSteps:
    """Fires at `steps`, whatever the loss is."""

    watches = False

    def __init__(self, steps: Collection[int], reason: str) -> None:
        self._steps, self._reason = frozenset(steps), reason

    def fires(self, step: int, loss: float | None) -> str | None:  # noqa: ARG002
        return self._reason if step in self._steps else None

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, plain: dict[str, Any]) -> None:
        """Nothing to restore: it holds nothing that changes."""


Trigger = Plateau | AtSteps


def evenly(checks: Sequence[int], growths: int) -> list[int]:
    """`growths` of the check steps, evenly spread, with the last check among them; all of them if there are fewer."""
    count = min(growths, len(checks))
    return [checks[(k * len(checks)) // count - 1] for k in range(1, count + 1)]


def at_random(checks: Sequence[int], growths: int, seed: int) -> list[int]:
    """`growths` of the check steps, drawn by `seed` alone; all of them if there are fewer."""
    return sorted(random.Random(f"growth {seed}").sample(list(checks), min(growths, len(checks))))
