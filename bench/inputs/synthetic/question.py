"""A question and a sentence, which answers it (0) or does not (1).

Most sentences without the answer say that nobody has it; one in eight tells something else instead, which is harder to
learn.
"""

from __future__ import annotations

import random

from bench.inputs.synthetic._words import PEOPLE, PLACES, THINGS, TIMES, VERBS

CLASSES = 2


def row(rng: random.Random) -> tuple[list[str], int]:
    who, what, (_, past) = rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(VERBS)
    where, when = rng.choice(PLACES), rng.choice(TIMES)
    asked = rng.randrange(3)
    word = ("where", "when", "who")[asked]
    about = f"{past} {what}" if word == "who" else f"{what} was {past}"
    question = f"{word} {past} {what}?" if word == "who" else f"{word} was {what} {past}?"
    told = [f"{who} {past} {what} {where}.", f"{who} {past} {what} {when}.", f"{what} was {past} {where}."]
    label = rng.randrange(2)
    if label == 0:
        sentence = told[asked] if word != "who" else f"{who} {past} {what}."
    elif rng.randrange(8):
        sentence = rng.choice([f"nobody knows {word} {about}.", f"it is unknown {word} {about}."])
    else:
        sentence = told[(1, 0, 2)[asked]]  # when for where, where for when, nobody for who
    return [question[0].upper() + question[1:], sentence[0].upper() + sentence[1:]], label
