"""A sentence, a question about it, and three to five options of one sort, one of which the sentence tells."""

from __future__ import annotations

import random

from bench.inputs.synthetic._words import PEOPLE, PLACES, THINGS, TIMES, VERBS

SORTS = {"Who": PEOPLE, "What": THINGS, "Where": PLACES, "When": TIMES}


def row(rng: random.Random) -> tuple[list[str], int, list[str]]:
    """The question with its sentence, the index of the right option, and the options."""
    asked = rng.choice(list(SORTS))
    told = {"Who": rng.choice(PEOPLE), "What": rng.choice(THINGS)}
    told |= {"Where": rng.choice(PLACES), "When": rng.choice(TIMES)}
    _, past = rng.choice(VERBS)
    sentence = f"{told['Who']} {past} {told['What']} {told['Where']} {told['When']}."
    question = {
        "Who": f"Who {past} {told['What']}?",
        "What": f"What was {past}?",
        "Where": f"Where was {told['What']} {past}?",
        "When": f"When was {told['What']} {past}?",
    }[asked]
    others = [word for word in SORTS[asked] if word != told[asked]]
    options = rng.sample(others, rng.randrange(2, 5))
    right = rng.randrange(len(options) + 1)
    options.insert(right, told[asked])
    return [f"{sentence[0].upper()}{sentence[1:]} {question}"], right, options
