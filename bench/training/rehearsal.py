"""Forward and backward passes before the training, from which nothing is learned: for imports and for memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from bench.engine.step import Core
from bench.evaluation.loss import task_loss
from bench.inputs.collate import Collator
from bench.training.batches import Padded
from bench.training.measure import PeakMemory


def rehearse(peak: PeakMemory, model: Any, core: Core, collate: Collator, largest: Padded) -> None:
    """Import all that a step needs, so that no step that is timed does, and measure the memory of the `largest` batch.

    The caller sets the generators afterwards, because dropout draws from them.
    """
    peak.measure(partial(_pass, model, core, collate, largest.rows))


def _pass(model: Any, core: Core, collate: Collator, rows: Sequence[int]) -> None:
    task_loss(model, collate(rows), collate.kind)[0].backward()
    core.discard_gradients()
