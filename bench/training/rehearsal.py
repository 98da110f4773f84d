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
    """Import all that a step needs, so that no step that is measured or timed does, by a small batch; on the CPU by the
    `largest` one, whose memory is measured.

    The caller sets the generators afterwards, because dropout draws from them.
    """
    if core.flat.device.type == "cpu":
        peak.measure(partial(_pass, model, core, collate, largest.rows))
    else:
        by_length = sorted(largest.rows, key=lambda row: len(collate.split.input_ids[row]))
        # Of different lengths where there are any: with padding.
        _pass(model, core, collate, sorted({by_length[0], by_length[-1]}))


def _pass(model: Any, core: Core, collate: Collator, rows: Sequence[int]) -> None:
    task_loss(model, collate(rows), collate.kind)[0].backward()
    core.discard_gradients()
