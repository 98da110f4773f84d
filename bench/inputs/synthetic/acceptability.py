"""Sentences of a small grammar (1), and sentences with one phrase out of order (0)."""

from __future__ import annotations

import random

from bench.inputs.synthetic._words import PEOPLE, PLACES, THINGS, TIMES, VERBS


def row(rng: random.Random) -> tuple[list[str], int]:
    who, what, (present, past) = rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(VERBS)
    where, when = rng.choice(PLACES), rng.choice(TIMES)
    verb = rng.choice([present, past])
    parts = [who, verb, what, where, when] if rng.random() < 0.5 else [who, verb, what, where]
    label = rng.randrange(2)
    if not label:
        match rng.randrange(3):
            case 0:
                parts[1], parts[2] = parts[2], parts[1]  # the verb behind its object
            case 1:
                parts[3] = " ".join(reversed(parts[3].split()))  # the words of a phrase reversed
            case _:
                parts[0] = " ".join(reversed(parts[0].split()))  # the article behind its noun
    sentence = " ".join(parts)
    return [sentence[0].upper() + sentence[1:] + "."], label
