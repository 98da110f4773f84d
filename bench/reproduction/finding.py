"""What came of training one recorded cell again, in words and as JSON data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.analysis.wording import DASH, difference_text, metric_text
from bench.config.metric_facts import MetricFacts, metric_facts
from bench.paths import CURVE, PREDICTIONS
from bench.records.differences import NOT_RECORDED, Difference, value_text
from bench.reproduction.comparison import Comparison, Outcome

DIGITS = 4  # of scores, since a score can differ by one example of ten thousand


@dataclass(frozen=True)
class Finding:
    """One cell that was trained again, or could not be.

    Attributes:
        name: study and cell, or the file where the record can't be read.
        cannot: one sentence that says why there is no comparison; empty where there is one.
        environment: what differs in the environment, by name: recorded, here.
        notes: what a reader of the comparison should know.
        folder: where the files of the repetition are.
    """

    name: str
    record: Path
    cannot: str = ""
    metric: str = ""
    comparison: Comparison | None = None
    environment: Mapping[str, Difference] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    seconds: float | None = None

    @property
    def facts(self) -> MetricFacts:
        """Of the metric of a comparison."""
        return metric_facts(self.metric)

    @property
    def outcome(self) -> Outcome:
        return self.comparison.outcome if self.comparison else Outcome.CANNOT

    def as_json(self) -> dict[str, Any]:
        """Plain data; scores are as recorded."""
        found = self.comparison
        compared = None
        if found is not None:
            compared = {**asdict(found), "outcome": found.outcome.name.lower(), "difference": found.difference}
        return {
            "cell": self.name,
            "record": str(self.record),
            "outcome": self.outcome.name.lower(),
            "code": self.outcome.code,
            "cannot": self.cannot or None,
            "metric": self.metric or None,
            "comparison": compared,
            "environment": {name: {"recorded": a, "here": b} for name, (a, b) in self.environment.items()},
            "notes": list(self.notes),
            "folder": None if self.folder is None else str(self.folder),
            "seconds": self.seconds,
        }


def worst(findings: list[Finding]) -> Outcome:
    """The worst outcome: outside the spread, then cannot, then within the spread, then the same bits."""
    return max((finding.outcome for finding in findings), key=list(Outcome).index)


def details(finding: Finding) -> Iterator[str]:
    """The comparison of one cell, a line for each thing that was compared."""
    found = finding.comparison
    if found is None:
        yield f"cannot: {finding.cannot}"
        return
    yield f"{found.outcome.value}: {_sentence(found)}"
    facts = finding.facts
    yield f"score ({facts.label}{', points' * facts.in_points}): {score_text(facts, found)}"
    if found.spread and found.outcome is not Outcome.SAME:
        low, high = (metric_text(facts, bound) for bound in (found.spread.low, found.spread.high))
        yield f"spread: {low} to {high} ({found.spread.how})"
    if found.outcome is not Outcome.SAME:
        yield f"loss curve: {curve_text(found)}"
        yield f"predictions: {predictions_text(found)}"
        yield f"differing parts: {', '.join((*found.fields, *found.files))}"
    yield from (f"note: {note}" for note in finding.notes)
    yield from environment_lines(finding.environment)


def environment_lines(differences: Mapping[str, Difference]) -> Iterator[str]:
    if not differences:
        yield "environment: the same"
    for name, (recorded, here) in differences.items():
        before = "not in the record" if recorded == NOT_RECORDED else f"{value_text(recorded)} in the record"
        yield f"environment, {name}: {before}, {value_text(here)} here"


def score_text(facts: MetricFacts, found: Comparison) -> str:
    """The two scores in the unit of tables, and their difference."""
    recorded, repeated = (
        DASH if score is None else metric_text(facts, score, DIGITS) for score in (found.recorded, found.repeated)
    )
    if found.difference is None:
        return f"{recorded} in the record, {repeated} here"
    if found.difference == 0:
        return f"{recorded} in both"
    return f"{recorded} in the record, {repeated} here ({difference_text(facts, found.difference, DIGITS)})"


def curve_text(found: Comparison) -> str:
    if found.curve is None:
        return _unseen(found, CURVE)
    text = f"step {found.curve.first_step} is the first that differs"
    if found.curve.largest is None:
        return f"{text}; no loss does"
    return f"{text}; the largest difference of a loss is {found.curve.largest:.3g}, at step {found.curve.at_step}"


def predictions_text(found: Comparison) -> str:
    if found.predictions is None:
        return _unseen(found, PREDICTIONS)
    text = f"{found.predictions.differing:,} of {found.predictions.examples:,} differ"
    only = found.predictions.only_in_one
    return f"{text}; {only:,} examples are in one of them only" if only else text


def _unseen(found: Comparison, name: str) -> str:
    if name in found.missing:
        return f"not the same, by its hash; the recorded {name} is not beside the record"
    return "not the same, by its hash" if name in found.files else "the same"


def _sentence(found: Comparison) -> str:
    match found.outcome:
        case Outcome.SAME:
            return "scores, loss curve, predictions and trained weights are those of the record"
        case Outcome.WITHIN if found.recorded is None:
            return "neither training has a score, and they did not end alike"
        case Outcome.WITHIN if found.difference == 0:
            return "other bits, and the same score"
        case Outcome.WITHIN:
            return "other bits, and a score within the spread of what is recorded"
        case _ if found.recorded is None or found.repeated is None:
            return "one of the two trainings has no score"
        case _ if found.spread is None:
            return "another score, and nothing in the records tells how far apart two trainings may be"
        case _:
            return "another score, outside the spread of what is recorded"
