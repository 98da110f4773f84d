"""What a record says of each rung of successive halving."""

from __future__ import annotations

from bench.config.types import Stored


class RungScore(Stored):
    """What a trial scored at a rung, after `step` steps: metrics (as in records) and mean loss of its held-out rows.

    A value is None where it is undefined or not finite. Where the study selects the best step, the scores are those of
    the best step so far.
    """

    step: int
    metrics: dict[str, float | None]
    loss: float | None
