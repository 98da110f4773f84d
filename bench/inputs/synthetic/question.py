"""A question and a sentence, which answers it (0) or does not (1)."""

from __future__ import annotations

import random

from bench.inputs.synthetic._words import PEOPLE, PLACES, THINGS, TIMES, VERBS


def row(rng: random.Random) -> tuple[list[str], int]:
    who, what, (_, past) = rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(VERBS)
    where, when = rng.choice(PLACES), rng.choice(TIMES)
    asked = rng.randrange(3)
    question = [f"Where was {what} {past}?", f"When was {what} {past}?", f"Who {past} {what}?"][asked]
    label = rng.randrange(2)
    if label == 0:
        sentence = f"{who} {past} {what} {where} {when}."
    elif rng.random() < 0.5:  # the part that the question asks for is missing
        sentence = [f"{who} {past} {what} {when}.", f"{who} {past} {what} {where}.", f"{what} was {past} {where}."][
            asked
        ]
    else:  # the sentence is about another thing
        other = rng.choice([thing for thing in THINGS if thing != what])
        sentence = f"{who} {past} {other} {where} {when}."
    return [question, sentence[0].upper() + sentence[1:]], label
