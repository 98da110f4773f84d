"""Short reports of who did what, where and when, and questions that one of their sentences answers."""

from __future__ import annotations

import random
from typing import Any

from bench.inputs.synthetic._words import PEOPLE, PLACES, THINGS, TIMES, VERBS

SENTENCES = 3
NO_ANSWER: dict[str, list[Any]] = {"text": [], "answer_start": []}


def report(rng: random.Random, *, silent: bool = False) -> tuple[list[str], dict[str, list[Any]]]:
    """A question and its report, and the answer with its place. silent: the report leaves out what is asked."""
    asked = rng.choice(["who", "where", "when"])
    told = rng.randrange(SENTENCES)
    sentences, answer, question = [], "", ""
    things = rng.sample(THINGS, SENTENCES)
    for number, thing in enumerate(things):
        _, past = rng.choice(VERBS)
        parts = {"who": rng.choice(PEOPLE), "where": rng.choice(PLACES), "when": rng.choice(TIMES)}
        if number == told:
            question = f"Who {past} {thing}?" if asked == "who" else f"{asked.title()} was {thing} {past}?"
            answer = parts[asked]
            parts |= {asked: "somebody" if asked == "who" else ""} if silent else {}
        words = " ".join(part for part in (parts["who"], past, thing, parts["where"], parts["when"]) if part)
        sentences.append(f"Then {words}.")
    context = " ".join(sentences)
    if silent:
        return [question, context], NO_ANSWER
    start = sum(len(sentence) + 1 for sentence in sentences[:told]) + sentences[told].index(answer)
    return [question, context], {"text": [answer], "answer_start": [start]}
