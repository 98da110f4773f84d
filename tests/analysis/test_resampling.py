"""Metrics of resampled examples agree with scikit-learn and scipy on the examples that were drawn."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from scipy import stats
from sklearn import metrics

from bench.analysis.stats.examples import spread_of_resamples
from bench.analysis.stats.resampling import leave_one_out, replicates, sums_of
from bench.config.task import Task
from bench.evaluation.evaluate import score_rows
from bench.evaluation.metrics import score

ROWS, DRAWS = 60, 25


def make_task(kind: str, names: list[str], classes: int = 0) -> Task:
    data = {"hub": "a/b", "columns": {"text": ["t"], "target": "y"}}
    generation = {} if kind in ("text-label", "summarization", "translation") else None
    labels = [f"label {i}" for i in range(classes)]
    return Task(name="t", kind=kind, data=data, labels=labels, metrics=names, generation=generation)


def drawn_counts(columns: np.ndarray) -> np.ndarray:
    """DRAWS x ROWS: how often each resample holds each example, by scores that are 1 for one example alone."""
    one_hot = np.eye(len(columns))
    sums_by_example = [
        sums_of(make_task("summarization", ["rougeL"]), "rougeL", None, None, one_hot[i]) for i in range(len(columns))
    ]
    shares = replicates([sums for sums in sums_by_example if sums], "t/validation", DRAWS)
    return np.rint(shares * len(columns)).astype(int)


def expected(metric: Any, truth: np.ndarray, guess: np.ndarray) -> list[float]:
    counts = drawn_counts(truth)
    assert counts.sum(axis=1).tolist() == [ROWS] * DRAWS
    return [float(metric(np.repeat(truth, n), np.repeat(guess, n))) for n in counts]


def resampled(task: Task, metric: str, truth: np.ndarray, guess: np.ndarray) -> list[float]:
    sums = sums_of(task, metric, truth, guess)
    assert sums is not None
    return list(replicates([sums], "t/validation", DRAWS)[:, 0])


def answers(classes: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(classes)
    truth = generator.integers(0, classes, ROWS)
    return truth, np.where(generator.random(ROWS) < 0.7, truth, generator.integers(0, classes, ROWS))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("metric", ["accuracy", "mcc", "f1"])
def test_metrics_of_classes(metric: str, classes: int) -> None:
    truth, guess = answers(classes)
    library_metric = {
        "accuracy": metrics.accuracy_score,
        "mcc": metrics.matthews_corrcoef,
        "f1": lambda y, p: metrics.f1_score(y, p, average="binary" if classes == 2 else "macro", zero_division=0),
    }[metric]
    task = make_task("classification", [metric], classes)
    assert resampled(task, metric, truth, guess) == pytest.approx(expected(library_metric, truth, guess))


def test_scores_of_answers_are_means_over_questions() -> None:
    draw, words = np.random.default_rng(0), ["red", "blue", "green"]
    truth = np.array([json.dumps([" ".join(draw.choice(words, 2))]) for _ in range(ROWS)])
    guess = np.array([" ".join(draw.choice(words, 2)) for _ in range(ROWS)])
    data = {"hub": "a/b", "columns": {"text": ["q", "c"], "target": "y"}}
    task = Task(name="t", kind="question-answering", data=data, metrics=["exact_match", "f1"])
    _, rows = score_rows(task, guess, truth)
    for metric in task.metrics:
        assert sums_of(task, metric, truth, guess) is None  # not without the scores of the examples
        sums = sums_of(task, metric, truth, guess, np.asarray(rows[metric]))
        assert sums is not None
        found = list(replicates([sums], "t/validation", DRAWS)[:, 0])
        assert found == pytest.approx(expected(lambda y, p, of=metric: score(task, p, y)[of], truth, guess))


def test_text_that_is_no_label_counts_as_wrong() -> None:
    truth, guess = answers(3)
    texts = np.array([f" label {g}\n" if i % 5 else "none of them" for i, g in enumerate(guess)], dtype=object)
    labels = np.array([f"label {t}" for t in truth], dtype=object)
    none = np.array([i % 5 == 0 for i in range(ROWS)])
    task = make_task("text-label", ["exact_match", "no_label", "f1"], 3)
    right, accuracy = (truth == guess) & ~none, metrics.accuracy_score
    assert resampled(task, "exact_match", labels, texts) == pytest.approx(expected(accuracy, np.ones(ROWS), right))
    assert resampled(task, "no_label", labels, texts) == pytest.approx(expected(accuracy, np.ones(ROWS), none))
    over_labels = partial(metrics.f1_score, labels=[0, 1, 2], average="macro", zero_division=math.nan)
    macro = expected(over_labels, truth, np.where(none, -1, guess))
    assert resampled(task, "f1", labels, texts) == pytest.approx(macro)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_saved_predictions_give_the_recorded_metric(classes: int) -> None:
    """Rare labels, labels that stand nowhere, and text that is no label among them."""
    draw = np.random.default_rng(classes)
    task = make_task("text-label", ["exact_match", "no_label", "f1", "mcc"], classes)
    for rows in (1, 2, 5, 60):
        truth, guess = draw.integers(0, classes, rows), draw.integers(-1, classes, rows)
        recorded = score(task, guess.tolist(), truth.tolist())
        for metric, value in recorded.items():
            sums = sums_of(task, metric, truth, guess)
            assert sums is not None
            assert float(sums.metric(sums.columns.sum(axis=0))) == pytest.approx(value, abs=1e-12)


def test_correlations_keep_the_ranks_of_the_whole_split() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=ROWS)
    guess = truth + generator.normal(size=ROWS)
    task = make_task("regression", ["pearson", "spearman"])
    pearson = expected(lambda y, p: stats.pearsonr(y, p).statistic, truth, guess)
    assert resampled(task, "pearson", truth, guess) == pytest.approx(pearson)
    ranked = expected(lambda y, p: stats.pearsonr(y, p).statistic, stats.rankdata(truth), stats.rankdata(guess))
    assert resampled(task, "spearman", truth, guess) == pytest.approx(ranked)
    mean = (np.asarray(pearson) + np.asarray(ranked)) / 2
    assert resampled(make_task("regression", ["mean_correlation"]), "mean_correlation", truth, guess) == pytest.approx(
        mean
    )


@pytest.mark.parametrize(
    "words", [2, 3, 9]
)  # of the longest text: of short ones no four words match, or there are none
@pytest.mark.parametrize(("metric", "library"), [("bleu", BLEU(force=True)), ("chrf", CHRF())])
def test_bleu_and_chrf_of_resampled_texts_are_those_of_sacrebleu(metric: str, library: Any, words: int) -> None:
    generator = np.random.default_rng(words)
    vocabulary = np.array(["der", "Hund", "läuft.", "schnell,", "heim", "U.S.", "1,5"])
    lengths = generator.integers(1, words + 1, ROWS)
    truth = np.array([" ".join(generator.choice(vocabulary, length)) for length in lengths], dtype=object)
    guess = np.array([text if i % 4 else "" for i, text in enumerate(generator.permutation(truth))], dtype=object)
    guess[::7] = truth[::7]
    task = make_task("translation", [metric])

    def corpus(references: np.ndarray, texts: np.ndarray) -> float:
        return library.corpus_score(texts.tolist(), [references.tolist()]).score / 100

    assert resampled(task, metric, truth, guess) == pytest.approx(expected(corpus, truth, guess), rel=0, abs=1e-9)
    sums = sums_of(task, metric, truth, guess)
    assert sums is not None
    recorded = score(task, guess.tolist(), truth.tolist())[metric]
    assert recorded == corpus(truth, guess)
    assert float(sums.metric(sums.columns.sum(axis=0))) == pytest.approx(recorded, rel=0, abs=1e-9)


def test_the_metric_of_a_constant_guess_is_zero_not_nan() -> None:
    truth, _ = answers(2)
    values = resampled(make_task("classification", ["mcc"], 2), "mcc", truth, np.zeros(ROWS, dtype=int))
    assert values == [0.0] * DRAWS


def test_cells_of_a_split_share_their_resamples_and_splits_do_not() -> None:
    truth, guess = answers(2)
    sums = sums_of(make_task("classification", ["accuracy"], 2), "accuracy", truth, guess)
    assert sums is not None
    both = replicates([sums, sums], "t/validation", DRAWS)
    assert np.array_equal(both[:, 0], both[:, 1])
    assert not np.array_equal(both[:, 0], replicates([sums], "t/mismatched", DRAWS)[:, 0])


def test_a_split_of_one_row_has_no_interval_and_no_warning() -> None:
    """Without its only row nothing is left to average F1 over."""
    task = make_task("classification", ["f1"], 3)
    sums = [sums_of(task, "f1", np.zeros(1, int), np.full(1, k)) for k in (0, 1)]
    left_out = [leave_one_out(cell) for cell in sums if cell is not None]
    assert [values.tolist() for values in left_out] == [[0.0], [0.0]]
    assert spread_of_resamples(np.zeros((10, 1)), (left_out[1] - left_out[0])[:, None]) is None
