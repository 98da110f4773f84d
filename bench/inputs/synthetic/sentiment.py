"""Opinions about films, negative (0) or positive (1), with a part that tells nothing about the label."""

from __future__ import annotations

import random

CLASSES = 2
SUBJECTS = [
    "the film",
    "this story",
    "the plot",
    "her performance",
    "the script",
    "the ending",
    "the music",
    "the camera work",
    "the dialogue",
    "the second half",
    "the lead actor",
    "the direction",
]
GOOD = [
    "moving",
    "funny",
    "clever",
    "beautiful",
    "gripping",
    "charming",
    "brilliant",
    "warm",
    "inventive",
    "tender",
    "a real delight",
    "full of life",
]
BAD = [
    "dull",
    "clumsy",
    "tedious",
    "shallow",
    "lifeless",
    "confusing",
    "annoying",
    "forgettable",
    "stale",
    "messy",
    "a complete bore",
    "painful to watch",
]
FILLERS = [
    "shot in two weeks",
    "set in a small town",
    "based on a novel",
    "about two brothers",
    "at two hours",
    "seen on a Sunday",
    "told in flashbacks",
    "made on a budget",
]


def row(rng: random.Random) -> tuple[list[str], int]:
    label = rng.randrange(2)
    words, other = (GOOD, BAD) if label else (BAD, GOOD)
    subject, filler = rng.choice(SUBJECTS), rng.choice(FILLERS)
    first, second = rng.sample(words, 2)
    forms = [
        f"{subject} , {filler} , is {first} and {second}",
        f"{filler} , {subject} is {first}",
        f"{subject} is not {rng.choice(other)} but {first}",
        f"{subject} is {first} , {filler}",
    ]
    return [rng.choice(forms)], label
