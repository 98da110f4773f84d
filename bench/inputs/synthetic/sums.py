"""A word problem of one addition or subtraction with small numbers, and its solution: the step, then '#### result'."""

from __future__ import annotations

import random

from bench.inputs.synthetic._words import PEOPLE

GOODS = ["letters", "books", "maps", "chairs", "lamps", "keys", "boats", "stamps"]
LARGEST = 12


def row(rng: random.Random) -> tuple[list[str], str]:
    who, what = rng.choice(PEOPLE), rng.choice(GOODS)
    first, second = rng.randrange(1, LARGEST), rng.randrange(1, LARGEST)
    if rng.randrange(2):
        told, sign, result = f"buys {second} more", "+", first + second
    else:
        first, second = max(first, second) + 1, min(first, second)
        told, sign, result = f"sells {second} of them", "-", first - second
    question = f"{who[0].upper()}{who[1:]} has {first} {what} and {told}. How many {what} are left?"
    return [question], f"{first} {sign} {second} = {result}\n#### {result}"
