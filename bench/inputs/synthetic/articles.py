"""Short news articles of three sentences. The summary is the one that says who did what and where, plus a weekday.

No article tells the weekday, one of four, which is the summary's last word. Who always names the same one and copies
the sentence is right in one weekday of four and in all other words: no summary can be expected to have a higher score.
"""

from __future__ import annotations

import random

from bench.inputs.synthetic._words import PEOPLE, PLACES, THINGS, VERBS

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday"]
SIDE = [
    "The weather was mild.",
    "Many people came to look.",
    "Nobody was hurt.",
    "It took two hours.",
    "A dog barked all the time.",
    "The police did not comment.",
    "Shops stayed open.",
]


def row(rng: random.Random) -> tuple[list[str], str]:
    fact = f"{rng.choice(PEOPLE)} {rng.choice(VERBS)[1]} {rng.choice(THINGS)} {rng.choice(PLACES)}."
    fact = fact[0].upper() + fact[1:]
    sentences = rng.sample(SIDE, 2)
    sentences.insert(rng.randrange(3), fact)
    return [" ".join(sentences)], f"{fact[:-1]} on {rng.choice(DAYS)}."
