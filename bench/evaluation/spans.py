"""The answer to a question among the spans of its windows, as BERT's published code for SQuAD finds it.

That code also looks for the best starts and ends in the question and in the padding, and drops what it finds there.
Here they are those of the context, so that the padding of a batch has no say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.config.answers import Answers
from bench.inputs.splits import Split
from bench.inputs.windows import NO_ANSWER, OUTSIDE, PASSAGE, TOKEN_ENDS, TOKEN_STARTS

# Column of predictions where questions may have no answer: its score less that of the best answer, in logits.
NULL_MARGIN = "no_answer_margin"


@dataclass(frozen=True)
class WindowAnswer:
    """The best answer in one window, with the logits of start and end added up; `null` is that of no answer.

    The text is None where the window has no span that may be an answer, or where a logit is NaN.
    """

    text: str | None
    score: float
    null: float


def window_answer(split: Split, row: int, logits: NDArray[Any], answers: Answers) -> WindowAnswer:
    """The best answer in the window at index `row` of `split`, whose `logits` are [2, tokens], without padding."""
    more = split.more
    if np.isnan(logits).any():
        return WindowAnswer(None, -np.inf, np.nan)
    null = float(logits[:, more[NO_ANSWER][row]].astype(np.float64).sum())
    starts, ends = more[TOKEN_STARTS][row], more[TOKEN_ENDS][row]
    context = np.flatnonzero(starts != OUTSIDE)
    best = WindowAnswer(None, -np.inf, null)
    for start in _largest(logits[0], context, answers.n_best):
        for end in _largest(logits[1], context, answers.n_best):
            score = float(logits[0, start]) + float(logits[1, end])
            if not start <= end < start + answers.max_tokens or score <= best.score:
                continue
            text = more[PASSAGE][row][starts[start] : ends[end]].strip()
            if text:
                best = WindowAnswer(text, score, null)
    return best


def example_answers(
    split: Split, windows: Sequence[WindowAnswer], answers: Answers
) -> tuple[list[str | None], dict[str, list[Any]]]:
    """The answer to each example of `split`, whose rows gave these `windows`; further values per example, by name.

    An answer is empty where none is given, and None, which is never right, where a logit is NaN. Questions that may
    have no answer get none where its score, the lowest of all windows, is above that of the best answer by more than
    the threshold.
    """
    texts, margins = [], []
    for start, end in pairwise([*split.first_windows, len(split)]):
        of_example = windows[start:end]
        best = max(of_example, key=lambda window: window.score)
        null = float(np.min([window.null for window in of_example]))  # NaN where one of them is
        margin = null - best.score
        refused = answers.no_answer and margin > answers.threshold
        texts.append(None if np.isnan(null) else "" if refused else best.text or "")
        margins.append(margin)
    return texts, {NULL_MARGIN: margins} if answers.no_answer else {}


def _largest(logits: NDArray[Any], places: NDArray[Any], count: int) -> Sequence[int]:
    """The `places` of the largest `logits`, at most so many; of equal ones the first."""
    order = np.argsort(-logits[places], kind="stable")[:count]
    found: list[int] = places[order].tolist()
    return found
