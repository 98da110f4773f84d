"""Exact match and F1 of answers to questions, as SQuAD's own evaluation defines them (Rajpurkar et al. 2016, 2018).

Both compare words without case, punctuation and the articles a, an and the, and take the best of a question's reference
answers. F1 is that of the words that the two share.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from bench.config.task import Task
from bench.inputs.answers import answers_listed

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def answer_rows(task: Task, predictions: Sequence[str | None], references: Sequence[str]) -> dict[str, list[float]]:
    """By metric of `task`, the score of each prediction against its reference answers (`listed_answers`).

    Where questions may have no answer, that is what an empty text says. None is never right.
    """
    function = {"exact_match": _exact_match, "f1": _f1}
    scored = [
        (None if text is None else normalized(text), _wanted(task, answers_listed(listed)))
        for text, listed in zip(predictions, references, strict=True)
    ]
    return {
        metric: [
            0.0 if given is None else max(function[metric](task, given, one) for one in all) for given, all in scored
        ]
        for metric in task.metrics
    }


def normalized(text: str) -> list[str]:
    """The words of an answer that are compared.

    >>> normalized("The  Hague's  (old) harbor, a port")
    ['hagues', 'old', 'harbor', 'port']
    """
    return _ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _wanted(task: Task, answers: Sequence[str]) -> list[list[str]]:
    """The reference answers. Where a question may have none, those of which nothing is left to compare are left out."""
    words = [normalized(answer) for answer in answers]
    return [one for one in words if one] or [[]] if task.answering.no_answer else words


def _exact_match(task: Task, given: list[str], wanted: list[str]) -> float:  # noqa: ARG001
    return float(given == wanted)


def _f1(task: Task, given: list[str], wanted: list[str]) -> float:
    if not given or not wanted:
        return float(given == wanted and task.answering.no_answer)
    shared = sum((Counter(given) & Counter(wanted)).values())
    return 2 * shared / (len(given) + len(wanted))
