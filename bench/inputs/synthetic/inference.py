"""Premise and hypothesis: entailment (0), neutral (1), contradiction (2)."""

from __future__ import annotations

import random

from bench.inputs.synthetic._words import PEOPLE, PLACES, THINGS, VERBS

CLASSES = 3


def row(rng: random.Random) -> tuple[list[str], int]:
    who, what, (_, past), where = rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(VERBS), rng.choice(PLACES)
    premise = f"{who} {past} {what} {where}."
    label = rng.randrange(3)
    if label == 0:
        hypothesis = rng.choice([f"{who} {past} {what}.", f"{who} was {where}.", f"{what} was {past} {where}."])
    elif label == 1:
        hypothesis = rng.choice(
            [f"{who} hoped to be paid for {what}.", f"{who} had seen {what} years ago.", f"{who} likes to sing."]
        )
    else:
        hypothesis = rng.choice([f"{who} never {past} {what}.", f"nobody was {where}.", f"{what} does not exist."])
    return [premise[0].upper() + premise[1:], hypothesis[0].upper() + hypothesis[1:]], label
