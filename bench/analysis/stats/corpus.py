"""BLEU and chrF as functions of sums over sentences, so that they can be resampled.

sacrebleu computes one score per call; here the counts of each sentence are taken once, and the formulas hold for
arrays of sums. Tests hold both against sacrebleu on resampled sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.config.task import Task
from bench.evaluation.corpus_scores import scorer

Floats = NDArray[np.float64]
BLEU_ORDER = 4  # words of the longest n-gram
CHRF_ORDER = 6  # letters of the longest n-gram
RECALL = 2.0**2  # beta squared: how much more recall counts in chrF than precision


def bleu_counts(task: Task, predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """sentences x 10: words of prediction and reference, then n-grams of 1 to 4 words that match, then all of them."""
    # A sentence's score is of no use here. The setting avoids a warning about it, and changes no count.
    bleu = scorer(task, "bleu")
    bleu.effective_order = True
    scores = (bleu.sentence_score(text, [right]) for text, right in zip(predictions, references, strict=True))
    return np.array([[score.sys_len, score.ref_len, *score.counts, *score.totals] for score in scores], dtype=float)


def bleu(sums: Floats) -> Floats:
    """(... x 10) to (...): BLEU as a fraction, with sacrebleu's smoothing `exp` of n-grams that never match."""
    written, wanted = sums[..., 0], sums[..., 1]
    matches, grams = sums[..., 2 : 2 + BLEU_ORDER], sums[..., 2 + BLEU_ORDER :]
    # The first order without a match counts as 1/2 of one, the next as 1/4, and so on.
    missed = np.cumsum(matches == 0, axis=-1)
    credited = np.where(matches == 0, 0.5**missed, matches)
    defined = (grams > 0).all(-1) & (matches > 0).any(-1)
    precisions = np.divide(credited, grams, out=np.ones_like(grams), where=grams > 0)
    ratio = np.divide(wanted, written, out=np.ones_like(written), where=written > 0)
    brevity = np.exp(np.minimum(0, 1 - ratio))
    return np.where(defined, brevity * np.exp(np.log(precisions).mean(-1)), 0.0)


def chrf_counts(_: Task, predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """sentences x 18: for n-grams of 1 to 6 letters those of the prediction, of the reference, and those that match."""
    from sacrebleu.metrics.helpers import extract_all_char_ngrams

    rows = []
    for text, right in zip(predictions, references, strict=True):
        counts: list[int] = []
        pairs = zip(*(extract_all_char_ngrams(each, CHRF_ORDER) for each in (text, right)), strict=True)
        for found, wanted in pairs:
            # As in sacrebleu, n-grams longer than the reference don't count against a prediction.
            counts += [found.total() if wanted else 0, wanted.total(), (found & wanted).total()]
        rows.append(counts)
    return np.array(rows, dtype=float)


def chrf(sums: Floats) -> Floats:
    """(... x 18) to (...): chrF as a fraction, the F-score of mean precision and recall over the orders that occur."""
    found, wanted, matches = np.moveaxis(sums.reshape(*sums.shape[:-1], CHRF_ORDER, 3), -1, 0)
    occurs = (found > 0) & (wanted > 0)
    orders = np.maximum(occurs.sum(-1), 1)
    precision = np.divide(matches, found, out=np.zeros_like(matches), where=occurs).sum(-1) / orders
    recall = np.divide(matches, wanted, out=np.zeros_like(matches), where=occurs).sum(-1) / orders
    weighed = RECALL * precision + recall
    score = (1 + RECALL) * precision * recall
    return np.asarray(np.divide(score, weighed, out=np.zeros_like(score), where=weighed > 0))


@dataclass(frozen=True)
class CorpusCounts:
    """`of_rows` (task, predictions, references): counts per sentence, sentences x k. `metric`: the score of sums."""

    of_rows: Callable[[Task, Sequence[str], Sequence[str]], Floats]
    metric: Callable[[Floats], Floats]


COUNTS = {"bleu": CorpusCounts(bleu_counts, bleu), "chrf": CorpusCounts(chrf_counts, chrf)}


def counts_column(metric: str) -> str:
    """The column of predictions that holds the counts of each row, where a file has no texts to count in."""
    return f"counts_{metric}"
