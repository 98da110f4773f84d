"""The answers of a question-answering row: spans of its context, as SQuAD's files have them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bench.config.task import Task
from bench.inputs.targets import BadValue, check_text, short

TEXT, START = "text", "answer_start"  # the two lists of the target column, one entry per answer


def row_answers(task: Task, value: Any, context: str) -> dict[str, list[Any]]:
    """The answers that the target column holds: a list of texts, and of each the place of its first character.

    Empty lists mean that the question has none. Raises BadValue where it should have one, and where an answer does not
    stand in `context` at the place that is said.
    """
    if not isinstance(value, dict) or not all(isinstance(value.get(name), (list, tuple)) for name in (TEXT, START)):
        raise BadValue(f"should hold {{{TEXT}: [...], {START}: [...]}}, found {short(value)}")
    texts, starts = list(value[TEXT]), list(value[START])
    if len(texts) != len(starts):
        raise BadValue(f"should hold one {START} for each {TEXT}, found {short(value)}")
    if not texts and not task.answering.no_answer:
        raise BadValue("should hold an answer, found none: where questions may have none, set `no_answer: true`")
    for text, start in zip(texts, starts, strict=True):
        _check(check_text(text), start, context)
    return {TEXT: texts, START: starts}


def _check(text: str, start: Any, context: str) -> None:
    if not text.strip():
        raise BadValue(f"holds an answer that is empty: {short(text)}")
    if not isinstance(start, int) or isinstance(start, bool):
        raise BadValue(f"should hold the place of each answer's first character, found {short(start)}")
    found = context[start : start + len(text)] if start >= 0 else ""
    if found != text:
        raise BadValue(
            f"should hold an answer of its context, but {short(text)} is not what stands there at {start}: "
            f"{short(found)}"
        )


def listed_answers(texts: Sequence[str]) -> str:
    """Answers as one text (JSON), as prepared rows and saved predictions hold them."""
    return json.dumps(list(texts), ensure_ascii=False)


def answers_listed(text: str) -> list[str]:
    """The answers that `listed_answers` wrote."""
    answers: list[str] = json.loads(text)
    return answers
