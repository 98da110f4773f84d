"""How metrics, statuses, budgets and numbers are written in tables, figures and on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.config.budget import Budget
from bench.config.evaluate_metric import EvaluateMetric
from bench.config.task import Task

METRIC_NAMES = {
    "accuracy": "accuracy",
    "mcc": "MCC",
    "f1": "F1",
    "pearson": "Pearson r",
    "spearman": "Spearman ρ",
    "mean_correlation": "mean of r and ρ",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "bleu": "BLEU",
    "chrf": "chrF",
    "exact_match": "exact match",
    "no_label": "no label",
    "accuracy_normalized": "accuracy per character",
}
FAILURE_WORDS = {"oom": "OOM", "diverged": "diverged", "failed": "failed"}
MIB = 1024**2
DASH = "—"  # a value that is missing or does not apply
TIE = "≈"  # a method that cannot be told apart from the best


def metric_name(metric: str) -> str:
    """'ROUGE-L' for rougeL; 'chrf score' for the metric evaluate:chrf:score of the library `evaluate`."""
    evaluate_metric = EvaluateMetric.parse(metric)
    return evaluate_metric.label if evaluate_metric else METRIC_NAMES[metric]


def split_text(task: Task, split: str) -> str:
    """'CoLA'; of a task with several evaluation splits 'MNLI, matched'."""
    return task.label if len(task.data.evaluation) == 1 else f"{task.label}, {split}"


def budget_text(name: str, budget: Budget) -> str:
    """'small (rank 2)' or 'small (82,944 parameters)'."""
    if budget.rank is not None:
        return f"{name} (rank {budget.rank:g})"
    return f"{name} ({budget.parameters:,} parameters)"


def p_value_text(p: float | None) -> str:
    """Three decimals; a smaller p is written as '< 0.001', an unknown one as a dash."""
    if p is None:
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def points_text(fraction: float, digits: int = 2) -> str:
    """A signed difference in points: 0.012 becomes '+1.20'."""
    return with_minus_signs(f"{100 * fraction:+z.{digits}f}")


def number_text(value: float, digits: int = 2) -> str:
    """With so many decimals, and never as minus zero: -0.001 becomes '0.00'."""
    return with_minus_signs(f"{value:z.{digits}f}")


def count_text(value: float) -> str:
    """A whole number with separated thousands; with one decimal if it is a mean that is not whole."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def three_digits(value: float) -> str:
    """With three digits or all digits before the point: 0.35, 86.9, 702, 1,234."""
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return with_minus_signs(f"{value:z,.{digits}f}")


mib_text = three_digits


def two_digits(value: float) -> str:
    """An estimate that deserves no more than two significant digits: 6.53 becomes '6.5', 40.9 '41', 207.3 '210'."""
    if not value:
        return "0"
    decimals = 1 - math.floor(math.log10(abs(float(f"{value:.1e}"))))
    return number_text(round(value, decimals), max(0, decimals))


def listed(texts: Sequence[str]) -> str:
    """'a', 'a and b' or 'a, b and c'."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def with_minus_signs(text: str) -> str:
    """Replace hyphens before digits by the typographic minus sign, as wide as a plus."""
    return text.replace("-", "−")
