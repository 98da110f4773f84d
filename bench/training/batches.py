"""Which rows make which batch: a pure function of seed and epoch, the same for every method of a task.

Rows are shuffled, cut into chunks of many batches and sorted by length inside each chunk, so that the rows of a batch
have similar lengths and need little padding; then the batches are shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 50  # batches among which rows are sorted by length


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The row numbers of each optimizer step of one epoch; the batch that is smaller than the others comes last."""
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


def micro_batches(rows: Sequence[int], parts: int) -> list[Sequence[int]]:
    """The rows of a step in at most `parts` micro-batches of equal size; the last one may be smaller."""
    size = -(-len(rows) // parts)
    return [rows[i : i + size] for i in range(0, len(rows), size)]


@dataclass(frozen=True)
class Padded:
    """A micro-batch: its rows, and the lengths in tokens that they are padded to (target 0: nothing is generated)."""

    rows: Sequence[int]
    length: int = 0
    target: int = 0

    @property
    def tokens(self) -> int:
        return len(self.rows) * (self.length + self.target)


@dataclass(frozen=True)
class FirstEpoch:
    """The micro-batches of the first epoch, as far as the training goes.

    Later epochs have the same rows in other batches, so these stand for the whole training.
    """

    steps: int
    batches: Sequence[Padded]

    @property
    def largest(self) -> Padded:
        """The micro-batch with the most padded tokens."""
        return max(self.batches, key=lambda batch: batch.tokens)

    @property
    def mean_lengths(self) -> tuple[float, float]:
        """Source and target tokens per row, padding included, averaged over the rows."""
        rows = sum(len(batch.rows) for batch in self.batches)
        source = sum(len(batch.rows) * batch.length for batch in self.batches)
        target = sum(len(batch.rows) * batch.target for batch in self.batches)
        return source / rows, target / rows

    @property
    def rows_per_step(self) -> float:
        return sum(len(batch.rows) for batch in self.batches) / self.steps


def first_epoch(
    lengths: Sequence[int], targets: Sequence[int], batch_size: int, parts: int, seed: int, total: int
) -> FirstEpoch:
    """The first epoch of a training of `total` steps, each in at most `parts` micro-batches.

    `lengths` and `targets` count the source and target tokens of each row; targets are 0 if nothing is generated.
    """
    steps = epoch_batches(lengths, batch_size, seed, 0)[:total]
    batches = [
        Padded(rows, max(lengths[i] for i in rows), max(targets[i] for i in rows))
        for step in steps
        for rows in micro_batches(step, parts)
    ]
    return FirstEpoch(len(steps), batches)
