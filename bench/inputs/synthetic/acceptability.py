"""Sentences of a small grammar (1), and sentences with an error (0).

Seven errors in eight put a word in the verb's place that is no verb. The eighth puts the verb behind its object, which
is harder to learn.
"""

from __future__ import annotations

import random

from bench.inputs.synthetic._words import PEOPLE, PLACES, THINGS, TIMES, VERBS

CLASSES = 2
NO_VERBS = ["happiness", "beautiful", "tomorrow", "sugar", "music", "expensive", "freedom", "yellow"]


def row(rng: random.Random) -> tuple[list[str], int]:
    who, what, (present, past) = rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(VERBS)
    where, when = rng.choice(PLACES), rng.choice(TIMES)
    verb = rng.choice([present, past])
    parts = [who, verb, what, where, when] if rng.random() < 0.3 else [who, verb, what, where]
    label = rng.randrange(2)
    if not label:
        if rng.randrange(8):
            parts[1] = rng.choice(NO_VERBS)
        else:
            parts[1], parts[2] = parts[2], parts[1]  # the verb behind its object
    sentence = " ".join(parts)
    return [sentence[0].upper() + sentence[1:] + "."], label
