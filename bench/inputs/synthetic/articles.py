"""Short news articles. The summary says who did what and where, which the article tells in more words."""

from __future__ import annotations

import random

from bench.inputs.synthetic._words import PEOPLE, PLACES, THINGS, TIMES, VERBS

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
    facts = []
    for _ in range(2):
        who, what, (_, past) = rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(VERBS)
        facts.append((who, past, what, rng.choice(PLACES), rng.choice(TIMES)))
    lines = []
    for who, past, what, where, when in facts:
        lines += [f"{who} {past} {what} {where} {when}.", rng.choice(SIDE)]
    summary = "\n".join(_capital(f"{who} {past} {what} {where}.") for who, past, what, where, _ in facts)
    return [" ".join(_capital(line) for line in lines)], summary


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
