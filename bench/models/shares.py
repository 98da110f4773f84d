"""Ranks that are given out one by one, in proportion to what each matrix may claim, until the budget is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def in_turn(shares: Sequence[float], most: int, *, least: int = 0, offset: float = 1.0) -> Iterator[int]:
    """The matrices in the order in which they get their ranks, up to `most` each, in proportion to `shares`.

    Every matrix gets `least` ranks first. Then the next rank goes to the largest share / (ranks + offset), and ties go
    to the first: with 1 as seats are given by D'Hondt's method, with 0.5 by Sainte-Laguë's, which rounds shares to the
    nearest whole number.
    """
    ranks = [least] * len(shares)
    for _ in range(least):
        yield from range(len(shares))
    for _ in range((most - least) * len(shares)):
        index = max(
            (i for i, rank in enumerate(ranks) if rank < most), key=lambda i: (shares[i] / (ranks[i] + offset), -i)
        )
        ranks[index] += 1
        yield index


def afforded(order: Iterator[int] | Sequence[int], costs: Sequence[int], budget: int) -> tuple[int, ...]:
    """How many ranks each matrix gets in this `order` of matrices; one that no longer fits is passed over."""
    ranks, left = [0] * len(costs), budget
    for index in order:
        if costs[index] <= left:
            ranks[index] += 1
            left -= costs[index]
    return tuple(ranks)
