"""Two sentences and how alike they are, from 0 to 5: as many of their five parts are the same."""

from __future__ import annotations

import random

from bench.inputs.synthetic._words import PEOPLE, PLACES, THINGS, TIMES, VERBS

PARTS = (PEOPLE, [past for _, past in VERBS], THINGS, PLACES, TIMES)


def row(rng: random.Random) -> tuple[list[str], float]:
    alike = rng.randrange(len(PARTS) + 1)
    same = set(rng.sample(range(len(PARTS)), alike))
    first = [rng.choice(words) for words in PARTS]
    second = [
        one if place in same else rng.choice([word for word in words if word != one])
        for place, (one, words) in enumerate(zip(first, PARTS, strict=True))
    ]
    return [f"{' '.join(parts)}." for parts in (first, second)], float(alike)
