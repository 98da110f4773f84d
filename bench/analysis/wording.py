"""How metrics, statuses, budgets and numbers are written in tables, figures and on the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bench.config.budget import Budget
from bench.config.metric_facts import MARK, MetricFacts
from bench.config.task import Task

FAILURE_WORDS = {"oom": "OOM", "diverged": "diverged", "failed": "failed"}
MIB = 1024**2
DIGITS = range(2, 8)  # decimals of an interval
MOST_FOR_SIGN = 4  # so many of a bound near zero; a smaller one is zero to a reader
DASH = "—"  # a value that is missing or does not apply
TIE = "≈"  # a method that cannot be told apart from the best


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


def unit_text(metrics: Iterable[MetricFacts]) -> str:
    """What a title says of the numbers: 'points (fraction × 100)', 'perplexity', or both where a table has both."""
    units = dict.fromkeys(facts.unit for facts in metrics)
    plain = [unit for unit in units if unit != "points"]
    if plain and len(plain) == len(units):
        return listed(plain)
    return ", ".join(["points (fraction × 100)", *(f"{unit} as it is" for unit in plain)])


def column_unit(metrics: Iterable[MetricFacts]) -> str:
    """The unit of a column with values of these metrics; empty where it is not one for all of them."""
    return "points" if all(facts.in_points for facts in metrics) else ""


def direction_notes(metrics: Iterable[MetricFacts], *, differences: bool = True) -> list[str]:
    """What must be said of metrics of which less is better. `differences`: whether the table has any."""
    names = list(dict.fromkeys(facts.name for facts in metrics if facts.says_direction))
    so = ", so a negative difference is an improvement" * differences
    return [f"{MARK}: smaller is better ({', '.join(names)}){so}."] if names else []


def metric_text(facts: MetricFacts, value: float, digits: int | None = None) -> str:
    """A recorded value in the unit of tables: 0.8165 of a fraction becomes '81.65', a perplexity stays as it is."""
    return number_text(facts.shown(value), facts.digits if digits is None else digits)


def difference_text(facts: MetricFacts, difference: float, digits: int = 2) -> str:
    """A signed difference in the unit of tables: 0.012 of a fraction becomes '+1.20'."""
    return with_minus_signs(f"{facts.shown(difference):+z.{digits}f}")


def interval_texts(facts: MetricFacts, difference: float, low: float, high: float) -> tuple[str, str]:
    """('+1.20', '[−0.10, +2.50]') in the unit of tables: a difference and its interval, with the same decimals."""
    digits = digits_of_bounds(facts, low, high)
    found, lower, upper = (difference_text(facts, value, digits) for value in (difference, low, high))
    return found, f"[{lower}, {upper}]"


def digits_of_bounds(facts: MetricFacts, low: float, high: float) -> int:
    """How many decimals an interval needs in the unit of tables: two, and more where two would make its bounds equal.

    Some more, too, where two would write a bound as zero, so that nobody could see on which side of it zero is.
    """

    def written(bound: float, digits: int) -> str:
        return difference_text(facts, bound, digits)

    digits = next((d for d in DIGITS if written(low, d) != written(high, d)), DIGITS[-1])
    signed = range(digits, max(digits, MOST_FOR_SIGN) + 1)
    return next((d for d in signed if written(0.0, d) not in (written(low, d), written(high, d))), digits)


def axis_text(facts: MetricFacts) -> str:
    """'MCC [points]', 'perplexity [smaller is better]': the name on an axis."""
    remarks = ["points"] * facts.in_points + ["smaller is better"] * facts.says_direction
    return f"{facts.name} [{', '.join(remarks)}]" if remarks else facts.name


def scaled_text(facts: MetricFacts) -> str:
    """'MCC × 100', 'perplexity [smaller is better]': the same where an axis names the factor."""
    if not facts.in_points:
        return axis_text(facts)
    return f"{facts.name} × 100{' [smaller is better]' * facts.says_direction}"


def in_unit(facts: MetricFacts, text: str) -> str:
    """'1.20 points'; '0.42 in perplexity' of what is shown as it is."""
    return f"{text} points" if facts.in_points else f"{text} in {facts.unit}"


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
