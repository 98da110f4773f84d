"""Short messages, negative (0), neutral (1) or positive (2) by the words in them."""

from __future__ import annotations

import random

from bench.inputs.synthetic.sentiment import BAD, FILLERS, GOOD, SUBJECTS

PLAIN = [
    "two hours long",
    "in English",
    "on at eight",
    "out on Friday",
    "made in Spain",
    "in black and white",
    "shown at noon",
    "in three parts",
]


def row(rng: random.Random) -> tuple[list[str], int]:
    label = rng.randrange(3)
    words = (BAD, PLAIN, GOOD)[label]
    subject, filler = rng.choice(SUBJECTS), rng.choice(FILLERS)
    first, second = rng.sample(words, 2)
    forms = [
        f"{subject} is {first} and {second}",
        f"{filler} , {subject} is {first}",
        f"saw it today : {subject} is {first} , {filler}",
    ]
    return [rng.choice(forms)], label
