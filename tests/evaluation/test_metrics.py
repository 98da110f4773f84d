"""Scores with values worked out by hand."""

from __future__ import annotations

import math
import random

import pytest
from sklearn import metrics as peer

from bench.config.task import Task
from bench.evaluation.evaluate import as_classes
from bench.evaluation.metrics import score


def task(kind: str, metrics: list[str], labels: tuple[str, ...] = ()) -> Task:
    data = {"hub": "a/b", "columns": {"text": ["t"], "target": "y"}}
    generation = {} if kind == "text-label" else None
    return Task(name="t", kind=kind, data=data, labels=list(labels), metrics=metrics, generation=generation)


def test_two_classes() -> None:
    """3 true positives, 1 false positive, 2 false negatives, 4 true negatives."""
    found = score(
        task("classification", ["accuracy", "mcc", "f1"], ("no", "yes")),
        [1, 1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 1, 1, 0, 0, 0, 0],
    )
    assert found["accuracy"] == pytest.approx(0.7)
    assert found["mcc"] == pytest.approx((3 * 4 - 1 * 2) / math.sqrt(4 * 5 * 5 * 6))
    assert found["f1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 2))


def test_three_classes_average_f1_over_classes() -> None:
    found = score(task("classification", ["f1", "accuracy"], ("a", "b", "c")), [0, 0, 1, 1], [0, 1, 1, 1])
    assert found["f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)  # class c stands nowhere
    assert found["accuracy"] == 0.75


def test_correlations() -> None:
    about = task("regression", ["pearson", "spearman", "mean_correlation"])
    found = score(about, [1.0, 2.0, 4.0], [1.0, 2.0, 3.0])
    assert found["spearman"] == pytest.approx(1.0)
    assert found["pearson"] == pytest.approx(9 / math.sqrt(42 * 2), rel=1e-6)
    assert found["mean_correlation"] == pytest.approx((found["pearson"] + found["spearman"]) / 2)


def test_words_that_are_no_label_count_as_wrong_and_are_told() -> None:
    words = task("text-label", ["exact_match", "no_label", "mcc"], ("negative", "positive"))
    classes = as_classes(words, ["positive", " negative ", "good", "positive"])
    assert classes == [1, 0, -1, 1]
    found = score(words, classes, [1, 0, 1, 0])
    assert found["exact_match"] == 0.5
    assert found["no_label"] == 0.25


def test_f1_of_two_words_is_that_of_the_second_whatever_else_is_said() -> None:
    """2 true positives, 1 false positive, 2 false negatives (one of them no label)."""
    words = task("text-label", ["f1"], ("negative", "positive"))
    found = score(words, [1, 1, 1, 0, -1, -1, 0], [1, 1, 0, 1, 1, 0, 0])
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert score(words, [-1, -1], [0, 0]) == {"f1": 0.0}


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_same_values_as_scikit_learn(classes: int) -> None:
    """Constant predictions, rare classes and words that are no label among them."""
    draw = random.Random(classes)
    several = task("classification", ["accuracy", "mcc", "f1"], tuple("abcde"[:classes]))
    for _ in range(200):
        rows, least = draw.choice([1, 2, 5, 60]), -1 if classes > 2 and draw.random() < 0.3 else 0
        references = [draw.randrange(classes) for _ in range(rows)]
        predictions = [draw.randrange(least, draw.randint(1, classes)) for _ in range(rows)]
        # scikit-learn averages over what truth and predictions hold; no label is no class of the task.
        present = [1] if classes == 2 else sorted({*references, *predictions} - {-1})
        assert score(several, predictions, references) == {
            "accuracy": peer.accuracy_score(references, predictions),
            "mcc": peer.matthews_corrcoef(references, predictions),
            "f1": peer.f1_score(references, predictions, labels=present, average="macro", zero_division=0),
        }


def test_an_answer_that_is_no_label_is_a_miss_for_its_class_and_no_class_itself() -> None:
    """One of 2,000 rows costs the row, not a quarter of the mean."""
    words = task("text-label", ["f1", "accuracy", "mcc"], ("negative", "neutral", "positive"))
    references = [0] * 1000 + [1] * 500 + [2] * 500
    found = score(words, [*references[:-1], -1], references)
    assert found["f1"] == pytest.approx((1 + 1 + 2 * 499 / (2 * 499 + 1)) / 3)
    assert found["accuracy"] == 0.9995
    # R_K by hand: hits x rows - sum of truth x predictions, over the root of both variances.
    covariance = 1999 * 2000 - (1000 * 1000 + 500 * 500 + 500 * 499)
    truth, guess = 2000**2 - (1000**2 + 2 * 500**2), 2000**2 - (1000**2 + 500**2 + 499**2 + 1)
    assert found["mcc"] == pytest.approx(covariance / math.sqrt(truth * guess))


@pytest.mark.parametrize(
    ("predictions", "references", "f1"),
    [
        ([0, 0], [0, 0], 1.0),  # one class in both: the mean over that one
        ([1, 1], [0, 0], 0.0),
        ([-1, -1], [0, 1], 0.0),
        ([0, -1, 1], [0, 0, 1], (2 / 3 + 1) / 2),  # the third label stands nowhere
    ],
)
def test_macro_f1_of_labels_that_stand_nowhere(predictions: list[int], references: list[int], f1: float) -> None:
    about = task("text-label", ["f1"], ("a", "b", "c"))
    assert score(about, predictions, references)["f1"] == pytest.approx(f1)
