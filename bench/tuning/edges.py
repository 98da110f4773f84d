"""Whether a chosen value is the lowest or the highest that was tried, so that better ones may lie beyond the space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bench.config.tuning import Values

Edge = Literal["lowest", "highest"]


def edges(points: Sequence[Values], chosen: Values) -> dict[str, Edge]:
    """The tuned keys whose value in `chosen` is the lowest or the highest of all `points`, and which it is.

    Only numbers have an order: a key with a value that is none (null, a word, true) has no edge, nor has one with a
    single value.

    >>> edges([{"learning_rate": 0.001}, {"learning_rate": 0.002}], {"learning_rate": 0.002})
    {'learning_rate': 'highest'}
    """
    found: dict[str, Edge] = {}
    for key, value in chosen.items():
        tried = [point[key] for point in points]
        if not tried or not all(isinstance(each, int | float) and not isinstance(each, bool) for each in tried):
            continue
        if min(tried) < max(tried) and value in (min(tried), max(tried)):
            found[key] = "lowest" if value == min(tried) else "highest"
    return found
