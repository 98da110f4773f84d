"""Answers: found in windows by hand and by trying every span, and scored as SQuAD's own scripts do."""

from __future__ import annotations

import math
import re
import string
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.config.answers import Answers
from bench.config.task import Task
from bench.evaluation.answers import normalized
from bench.evaluation.metrics import score
from bench.evaluation.spans import NULL_MARGIN, WindowAnswer, example_answers, window_answer
from bench.inputs.answers import listed_answers
from bench.inputs.portions import IDS
from bench.inputs.splits import Column, Split
from bench.inputs.windows import NO_ANSWER, OUTSIDE, PASSAGE, SPAN, TOKEN_ENDS, TOKEN_STARTS

PASSAGE_OF_LETTERS = "a b c d e f"  # a token each, behind `[CLS] ? [SEP]`
TOKENS = 10  # with the last [SEP]


@lru_cache
def task(*, no_answer: bool) -> Task:
    data = {"hub": "a/b", "columns": {"text": ["question", "context"], "target": "answers"}}
    about = {"kind": "question-answering", "metrics": ["exact_match", "f1"], "answers": {"no_answer": no_answer}}
    return Task.model_validate({"name": "t", "data": data, **about})


def windows_of(*rows: int) -> Split:
    """Windows with these numbers of source rows, all of which show the same letters."""
    count = len(rows)
    starts = [OUTSIDE] * 3 + [2 * i for i in range(6)] + [OUTSIDE]
    values: dict[str, Any] = {
        SPAN: pa.array([[0, 0]] * count, IDS),
        NO_ANSWER: pa.array([0] * count, pa.int32()),
        PASSAGE: pa.array([PASSAGE_OF_LETTERS] * count),
        TOKEN_STARTS: pa.array([starts] * count, IDS),
        TOKEN_ENDS: pa.array([[s + 1 if s != OUTSIDE else s for s in starts]] * count, IDS),
    }
    made = {name: Column(pa.chunked_array([value])) for name, value in values.items()}
    ids = Column(pa.chunked_array([pa.array([range(TOKENS)] * count, IDS)]))
    numbers = Column(pa.chunked_array([pa.array(rows)]))
    return Split(ids, ids, ids, numbers, more=made)


def logits(starts: dict[int, float], ends: dict[int, float]) -> np.ndarray:
    """Logits of all tokens of a window: -9 but for these."""
    values = np.full((2, TOKENS), -9.0, dtype=np.float32)
    for line, given_ones in zip(values, (starts, ends), strict=True):
        line[list(given_ones)] = list(given_ones.values())
    return values


@pytest.mark.parametrize(
    ("starts", "ends", "settings", "text", "best"),
    [
        ({4: 3, 5: 1}, {6: 2}, {}, "b c d", 5),
        ({7: 3, 4: 1}, {5: 4, 8: 0}, {}, "b c", 5),  # 7 to 5 would be backwards
        ({3: 3}, {8: 3, 4: 1}, {"max_tokens": 5}, "a b", 4),  # 3 to 8 are six tokens
        ({3: 3}, {8: 3, 4: 1}, {"max_tokens": 6}, "a b c d e f", 6),
        ({1: 9, 4: 1}, {9: 9, 4: 1}, {}, "b", 2),  # question and end are no answer
        ({8: 3, 4: 2}, {5: 3, 8: -3}, {"n_best": 1}, None, -math.inf),  # the best start and end are no pair
        ({8: 3, 4: 2}, {5: 3, 8: -3}, {"n_best": 2}, "b c", 5),
    ],
)
def test_the_best_span_of_a_window(
    starts: dict[int, float], ends: dict[int, float], settings: dict[str, Any], text: str | None, best: float
) -> None:
    found = window_answer(windows_of(0), 0, logits(starts, ends), Answers(**settings))
    assert found == WindowAnswer(text, best, -18.0)


def test_every_span_is_tried() -> None:
    draw = np.random.default_rng(0)
    for _ in range(30):
        values = draw.normal(size=(2, TOKENS)).astype(np.float32)
        spans = [(i, j) for i in range(3, 9) for j in range(i, 9) if j - i < 3]
        first, last = max(spans, key=lambda span: float(values[0, span[0]]) + float(values[1, span[1]]))
        found = window_answer(windows_of(0), 0, values, Answers(max_tokens=3))
        assert found.text == PASSAGE_OF_LETTERS[2 * (first - 3) : 2 * (last - 3) + 1]


def test_the_best_of_all_windows_of_an_example() -> None:
    split = windows_of(4, 4, 9, 11, 11)
    found = [
        WindowAnswer("a", 2.0, 5.0),
        WindowAnswer("b", 3.0, 1.0),
        WindowAnswer(None, -math.inf, 0.0),
        WindowAnswer("c", 7.0, 9.0),
        WindowAnswer(None, -math.inf, math.nan),
    ]
    assert example_answers(split, found, Answers()) == (["b", "", None], {})


@pytest.mark.parametrize(("threshold", "text"), [(-3.0, ""), (-2.0, "b"), (0.0, "b")])
def test_no_answer_takes_more_than_the_threshold(threshold: float, text: str) -> None:
    """No answer is as good as in the window that says it least, 1. The best answer has 3: a margin of -2."""
    found = [WindowAnswer("a", 2.0, 5.0), WindowAnswer("b", 3.0, 1.0)]
    texts, details = example_answers(windows_of(0, 0), found, Answers(no_answer=True, threshold=threshold))
    assert (texts, details) == ([text], {NULL_MARGIN: [-2.0]})


def test_a_logit_that_is_no_number_is_never_right() -> None:
    values = logits({4: 3.0}, {5: math.nan})
    split, settings = windows_of(0), Answers(no_answer=True)
    texts, _ = example_answers(split, [window_answer(split, 0, values, settings)], settings)
    assert texts == [None]
    assert score(task(no_answer=True), texts, [listed_answers([])]) == {"exact_match": 0.0, "f1": 0.0}


@pytest.mark.parametrize(
    ("predicted", "answers", "exact", "f1"),
    [
        ("The Hague.", ["hague"], 1, 1),
        ("in the old harbor", ["the old harbor", "harbor"], 0, 0.8),  # two of three, and of two words: 4 / 5
        ("50%", ["about 50"], 0, 2 / 3),
        ("red", ["blue", "Red!"], 1, 1),
        ("red red", ["red"], 0, 2 / 3),
        ("", ["red"], 0, 0),
    ],
)
def test_scores_by_hand(predicted: str, answers: list[str], exact: float, f1: float) -> None:
    for no_answer in (False, True):
        found = score(task(no_answer=no_answer), [predicted], [listed_answers(answers)])
        assert found == {"exact_match": exact, "f1": pytest.approx(f1)}


def test_questions_without_an_answer_want_an_empty_text() -> None:
    found = score(
        task(no_answer=True), ["", "red", ""], [listed_answers([]), listed_answers([]), listed_answers(["a"])]
    )
    assert found == {"exact_match": pytest.approx(2 / 3), "f1": pytest.approx(2 / 3)}  # "a" is an article alone


# What SQuAD's two scripts do, step by step on strings (evaluate-v1.1.py and evaluate-v2.0.py).
def _official_text(text: str) -> str:
    text = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def _official_f1(predicted: str, answer: str, version: int) -> float:
    given, wanted = _official_text(predicted).split(), _official_text(answer).split()
    left = list(wanted)
    shared = 0
    for word in given:
        if word in left:
            left.remove(word)
            shared += 1
    if version == 2 and (not given or not wanted):
        return float(given == wanted)
    if shared == 0:
        return 0.0
    precision, recall = shared / len(given), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def _official(predicted: str, answers: list[str], version: int) -> tuple[float, float]:
    if version == 2:
        answers = [answer for answer in answers if _official_text(answer)] or [""]
    exact = max(float(_official_text(predicted) == _official_text(answer)) for answer in answers)
    return exact, max(_official_f1(predicted, answer, version) for answer in answers)


TEXTS = st.lists(st.sampled_from(["the", "The", "a", "An", "red", "Red!", "blue", "$5", "...", "é", "x-y"]), max_size=5)


@settings(deadline=None)  # the first example imports libraries
@given(predicted=TEXTS, answers=st.lists(TEXTS, min_size=1, max_size=3), no_answer=st.booleans())
def test_scores_are_those_of_the_official_scripts(
    predicted: list[str], answers: list[list[str]], no_answer: bool
) -> None:
    text, wanted = " ".join(predicted), [" ".join(words) for words in answers]
    found = score(task(no_answer=no_answer), [text], [listed_answers(wanted)])
    exact, f1 = _official(text, wanted, 2 if no_answer else 1)
    assert (found["exact_match"], found["f1"]) == (exact, pytest.approx(f1))
    assert " ".join(normalized(text)) == _official_text(text)
