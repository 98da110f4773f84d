"""The order of the rows: a pure function of seed and epoch, every row once, rows of like length together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.training.batches import epoch_batches, micro_batches

LENGTHS = st.lists(st.integers(1, 128), min_size=1, max_size=400)


@given(LENGTHS, st.integers(1, 32), st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_every_row_once_in_full_batches(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(lengths, size, seed, epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == size for batch in batches[:-1])
    assert len(batches) == -(-len(lengths) // size)
    assert batches == epoch_batches(lengths, size, seed, epoch)


def test_seed_and_epoch_each_give_another_order() -> None:
    lengths = [n % 50 + 1 for n in range(1000)]
    orders = [epoch_batches(lengths, 16, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for n, a in enumerate(orders) for b in orders[:n])


def test_rows_of_like_length_stand_together() -> None:
    """Lengths as in a GLUE task: padding falls from more than half of a batch to some percent."""
    lengths = [(n * 7919) % 100 + 5 for n in range(3200)]
    grouped = sum(len(b) * max(lengths[i] for i in b) for b in epoch_batches(lengths, 32, 0, 0))
    assert grouped < 1.10 * sum(lengths)


@given(st.integers(1, 64), st.integers(1, 8))
def test_micro_batches_keep_rows_and_order(rows: int, parts: int) -> None:
    found = micro_batches(list(range(rows)), parts)
    assert [row for part in found for row in part] == list(range(rows))
    assert len(found) <= parts
    assert max(map(len, found)) == -(-rows // parts)
