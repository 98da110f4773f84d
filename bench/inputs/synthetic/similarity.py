"""Two sentences of five parts each, and how many of these parts they share (0 to 5)."""

from __future__ import annotations

import random

from bench.inputs.synthetic._words import PEOPLE, PLACES, THINGS, TIMES, VERBS

PARTS = (PEOPLE, [past for _, past in VERBS], THINGS, PLACES, TIMES)


def row(rng: random.Random) -> tuple[list[str], float]:
    alike = rng.randrange(len(PARTS) + 1)
    same = set(rng.sample(range(len(PARTS)), alike))
    first = [rng.choice(words) for words in PARTS]
    second = [
        word if place in same else rng.choice([other for other in words if other != word])
        for place, (word, words) in enumerate(zip(first, PARTS, strict=True))
    ]
    return [f"{' '.join(parts)}." for parts in (first, second)], float(alike)
