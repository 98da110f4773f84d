"""Which rows make which batch: a pure function of seed and epoch, the same for every method of a task.

Rows are shuffled, cut into chunks of many batches and sorted by length inside a chunk, so that a batch holds rows of
like length and little padding; then the batches are shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 50  # batches among which rows are sorted by length


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The rows of each optimizer step of one epoch, the smaller batch last."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    size = np.asarray(lengths)
    batches = []
    for start in range(0, len(order), CHUNK * batch_size):
        chunk = order[start : start + CHUNK * batch_size]
        chunk = chunk[np.argsort(-size[chunk], kind="stable")]
        batches += [chunk[i : i + batch_size].tolist() for i in range(0, len(chunk), batch_size)]
    full = [b for b in batches if len(b) == batch_size]
    rest = [b for b in batches if len(b) < batch_size]
    return [full[i] for i in rng.permutation(len(full))] + rest


def micro_batches(rows: Sequence[int], accumulation: int) -> list[Sequence[int]]:
    """A step's rows in at most `accumulation` parts, as equal as can be."""
    size = -(-len(rows) // accumulation)
    return [rows[i : i + size] for i in range(0, len(rows), size)]


@dataclass(frozen=True)
class LargestBatch:
    """The micro-batch of the first epoch with the most padded tokens: its rows, and the lengths they are padded to."""

    rows: Sequence[int]
    length: int = 0
    target: int = 0

    @property
    def tokens(self) -> int:
        return len(self.rows) * (self.length + self.target)


def largest_batch(
    lengths: Sequence[int], targets: Sequence[int], batch_size: int, accumulation: int, seed: int, total: int
) -> LargestBatch:
    """`targets`: target tokens of each row, 0 where nothing is generated. `total`: steps of the training; what comes
    after its first epoch is not looked at: the same rows in other batches."""
    found = LargestBatch(())
    for batch in epoch_batches(lengths, batch_size, seed, 0)[:total]:
        for rows in micro_batches(batch, accumulation):
            one = LargestBatch(rows, max(lengths[i] for i in rows), max(targets[i] for i in rows))
            found = one if one.tokens > found.tokens else found
    return found
