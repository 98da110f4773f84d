"""Wrong classes at a known rate: no method can reach 100, and the best possible score is known.

Of every 20 rows in a row exactly one has a wrong class, in training and evaluation splits alike. A model that knows the
grammar of the rows therefore has an accuracy of exactly 95% on any multiple of 20 evaluation rows, and no model has a
higher expected accuracy on rows that it has not seen.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

BLOCK = 20
WRONG = 1  # of each block
BEST_ACCURACY = 1 - WRONG / BLOCK


def with_wrong_classes(targets: Sequence[int], classes: int, rng: random.Random) -> list[int]:
    """`targets`, classes from 0 to `classes` - 1, with another one drawn for WRONG of every BLOCK in a row.

    Example:
        >>> with_wrong_classes([0] * 20, 2, random.Random(0)).count(1)
        1
    """
    changed = list(targets)
    for start in range(0, len(targets), BLOCK):
        places = range(start, min(start + BLOCK, len(targets)))
        for place in rng.sample(places, min(WRONG, len(places))):
            changed[place] = (changed[place] + rng.randrange(1, classes)) % classes
    return changed
