"""What a metric is: its name, how tables write it, its range, and which end of that is better. Nothing else says it.

Which metrics a kind of task has stands in `kinds.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bench.config.evaluate_metric import EvaluateMetric
from bench.config.score_ranges import CORRELATION, LOSS, PERPLEXITY, SHARE, UNBOUNDED, ScoreRange

OF_LOSS = "loss"  # the task's own loss, by which points of a tuning may be chosen in place of a metric
OF_LIKELIHOODS = frozenset({"perplexity"})  # metrics of the target texts alone: no text is written for them
MARK = "↓"  # behind the name of a metric of which less is better
# Modules of `evaluate`, or entries of their results, that count errors or measure a distance.
_ERRORS = frozenset(
    {"brier_score", "cer", "character", "charcut_mt", "mae", "mape", "mase", "mse", "smape", "ter", "wer"}
)
NO_DIRECTIONS: Mapping[str, bool] = MappingProxyType({})


@dataclass(frozen=True)
class MetricFacts:
    """A metric, as all that ranks, writes or draws scores must know it.

    Attributes:
        key: how a task's file calls it.
        name: how readers know it.
        range: of the values in records, and which end is better.
        factor: what tables and figures multiply a value with: 100 for a fraction, shown in points; 1: as it is.
        digits: decimals in tables.
        marked: whether `MARK` follows the name where less is better. "No label" says so by itself.
    """

    key: str
    name: str
    range: ScoreRange = SHARE
    factor: float = 100.0
    digits: int = 2
    marked: bool = True

    @property
    def label(self) -> str:
        """'MCC', 'perplexity ↓'."""
        return self.marked_name(self.name)

    @property
    def says_direction(self) -> bool:
        """Whether readers are told that less is better."""
        return self.lower_is_better and self.marked

    @property
    def lower_is_better(self) -> bool:
        return self.range.lower_is_better

    @property
    def sign(self) -> float:
        """+1 if a higher value is better, else -1: with it, more is always better."""
        return -1.0 if self.lower_is_better else 1.0

    @property
    def in_points(self) -> bool:
        """Whether values are fractions, which tables show as points."""
        return self.factor != 1.0

    @property
    def unit(self) -> str:
        """'points', or 'perplexity' of what is shown as it is. Only numbers of one unit can be averaged or compared."""
        return "points" if self.in_points else self.name

    @property
    def averages(self) -> bool:
        """Whether it can be averaged with the metrics of other tasks: points of which more is better."""
        return self.in_points and not self.lower_is_better

    def marked_name(self, name: str) -> str:
        """Another name of the metric, such as that of the hub, with `MARK` where less is better."""
        return f"{name} {MARK}" if self.says_direction else name

    def shown(self, value: float) -> float:
        """A recorded value, or a difference of two, in the unit of tables."""
        return self.factor * value

    def level(self, value: float) -> float:
        """The value on a scale on which a tenth is much for every metric: of what is shown as it is its logarithm."""
        return value if self.in_points else math.log(value)


_LISTED = [
    MetricFacts("accuracy", "accuracy"),
    MetricFacts("mcc", "MCC", CORRELATION),
    MetricFacts("f1", "F1"),
    MetricFacts("pearson", "Pearson r", CORRELATION),
    MetricFacts("spearman", "Spearman ρ", CORRELATION),
    MetricFacts("mean_correlation", "mean of r and ρ", CORRELATION),
    MetricFacts("rouge1", "ROUGE-1"),
    MetricFacts("rouge2", "ROUGE-2"),
    MetricFacts("rougeL", "ROUGE-L"),
    MetricFacts("rougeLsum", "ROUGE-Lsum"),
    MetricFacts("bleu", "BLEU"),
    MetricFacts("chrf", "chrF"),
    MetricFacts("exact_match", "exact match"),
    MetricFacts("no_label", "no label", SHARE.turned, marked=False),
    MetricFacts("accuracy_normalized", "accuracy per character"),
    MetricFacts("perplexity", "perplexity", PERPLEXITY, factor=1.0),
    MetricFacts(OF_LOSS, "loss", LOSS, factor=1.0, digits=4, marked=False),
]
OWN_FACTS = {facts.key: facts for facts in _LISTED}


def metric_facts(metric: str, smaller_is_better: Mapping[str, bool] = NO_DIRECTIONS) -> MetricFacts:
    """The facts of a metric of the harness, of one of the library `evaluate`, or of `loss`.

    Modules of `evaluate` say neither their range nor their direction. Fewer errors are better (`wer`, `ter`, `mse` and
    others of that library); of all other modules a higher value is. `smaller_is_better` says otherwise, by metric:
    `Task.metric_facts` knows what the task's file says. Raises KeyError for a metric that nobody knows.

    >>> metric_facts("perplexity").label, metric_facts("evaluate:ter:score/100").lower_is_better
    ('perplexity ↓', True)
    """
    module = EvaluateMetric.parse(metric)
    if module is None:
        return OWN_FACTS[metric]
    counts_errors = not {module.short_name, module.key}.isdisjoint(_ERRORS)
    turned = smaller_is_better.get(metric, counts_errors)
    return MetricFacts(metric, module.label, UNBOUNDED.turned if turned else UNBOUNDED)
