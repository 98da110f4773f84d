"""What fewer trials would have shown: how often one method would have been ahead of another after k of the same points.

Both methods were tried at the same n points. Whoever tries k of them compares the two bests of the k. `shares_ahead`
counts all ways to take k of the n points. It is a description of these trials and claims nothing about others.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

MOST_POINTS = 256  # the count takes the cube of them in time


def shares_ahead(first: Sequence[float], second: Sequence[float]) -> list[tuple[float, float]]:
    """For k = 1 to n, the shares of the choices of k points in which the first method, and the second, has the better
    best. What is missing to 1 are ties.

    Args:
        first, second: the scores of the two methods at the same points in the same order; higher is better, minus
            infinity stands for a trial without a score.

    Raises ValueError for lists of different length, for none, or for more than `MOST_POINTS` points.

    >>> shares_ahead([0.5, 0.8], [0.6, 0.7])
    [(0.5, 0.5), (1.0, 0.0)]
    """
    n = len(first)
    if n != len(second) or not 0 < n <= MOST_POINTS:
        raise ValueError(f"expected the same number of points, 1 to {MOST_POINTS}, found {n} and {len(second)}")
    # A strict order, in which equal scores follow each other as the points do, gives each choice exactly one best.
    place_of_first, place_of_second = _places(first), _places(second)
    ahead, behind = [0] * (n + 1), [0] * (n + 1)
    for i in range(n):
        for j in range(n):
            if place_of_first[j] > place_of_first[i] or place_of_second[i] > place_of_second[j]:
                continue  # a choice with both of them has another best
            if first[i] == second[j]:
                continue
            below = sum(
                place_of_first[p] < place_of_first[i] and place_of_second[p] < place_of_second[j] for p in range(n)
            )
            counts = ahead if first[i] > second[j] else behind
            bests = len({i, j})
            for k in range(bests, bests + below + 1):
                counts[k] += comb(below, k - bests)
    return [(ahead[k] / comb(n, k), behind[k] / comb(n, k)) for k in range(1, n + 1)]


def _places(scores: Sequence[float]) -> list[int]:
    """The place of each point in ascending order of the scores."""
    places = [0] * len(scores)
    for place, point in enumerate(sorted(range(len(scores)), key=lambda point: scores[point])):
        places[point] = place
    return places
