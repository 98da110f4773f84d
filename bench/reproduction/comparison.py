"""Hold a cell that was trained again against its record: the same bits, or what differs and how far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from bench.analysis.stats.predictions import Predictions, in_order, same_value
from bench.analysis.stats.without_texts import read_alike
from bench.config.task import Task
from bench.paths import CURVE, PREDICTIONS, CellPaths
from bench.records.differences import result_differences
from bench.records.io import read_curve
from bench.records.schema import Record
from bench.reproduction.spread import Spread, score_of


class Outcome(Enum):
    """How a cell came out when it was trained again; the value is how a table calls it."""

    SAME = "same bits"
    WITHIN = "within the spread"
    CANNOT = "cannot"
    OUTSIDE = "outside the spread"

    @property
    def code(self) -> int:
        """The exit code."""
        return {Outcome.SAME: 0, Outcome.WITHIN: 3, Outcome.CANNOT: 2, Outcome.OUTSIDE: 4}[self]


WORST_LAST = tuple(Outcome)  # what contradicts a record is worse than what says nothing about it


@dataclass(frozen=True)
class CurveDifference:
    """`first_step` is the first one whose line differs, `largest` the largest difference of two losses, at `at_step`.

    The last two are None where no loss differs, as where other fields of a line do, or one curve is longer.
    """

    first_step: int
    largest: float | None
    at_step: int | None


@dataclass(frozen=True)
class PredictionDifference:
    """How many of the `examples` that both predicted have another prediction, and how many only one of them has."""

    differing: int
    examples: int
    only_in_one: int


@dataclass(frozen=True)
class Comparison:
    """A training and the record that it repeats; scores are as recorded.

    Attributes:
        fields: the parts of the record's result that differ, by name.
        files: the files whose contents differ.
        curve, predictions: how they differ; None where they are the same, or one of the files is not there.
        missing: files that differ by their hashes, of which the recorded one is not there to be looked into.
    """

    outcome: Outcome
    recorded: float | None
    repeated: float | None
    spread: Spread | None
    fields: tuple[str, ...]
    files: tuple[str, ...]
    curve: CurveDifference | None
    predictions: PredictionDifference | None
    missing: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """Repeated less recorded."""
        return None if self.recorded is None or self.repeated is None else self.repeated - self.recorded


def compare(
    task: Task, recorded: Record, beside: CellPaths, repeated: Record, again: CellPaths, spread: Spread | None
) -> Comparison:
    """Compare a record of `task`, with the files `beside` it, with its repetition, whose files are in `again`.

    Where the hashes of curve or predictions differ the contents decide: another version of a library may write the same
    numbers otherwise. Raises BenchError if such a file can't be read.
    """
    curve = predictions = None
    files, missing = [], []
    # A record of a diverged training names no files, but its curve is there.
    for name in sorted({CURVE} | recorded.files.keys()):
        sha256, there = recorded.files.get(name), (beside.folder / name).is_file()
        if sha256 is not None and sha256 == repeated.files.get(name):
            continue
        if there and name == CURVE:
            curve = curve_difference(read_curve(beside.curve), read_curve(again.curve))
            differs = curve is not None
        elif there and name == PREDICTIONS and name in repeated.files:
            predictions = _predictions(task, beside.predictions, again.predictions)
            differs = predictions is not None
        else:
            differs = sha256 is not None
            missing += [name] if differs and not there else []
        files += [name] if differs else []
    fields = tuple(result_differences(recorded, repeated))
    return Comparison(
        outcome=_outcome(recorded, repeated, spread, same=not fields and not files),
        recorded=score_of(recorded),
        repeated=score_of(repeated),
        spread=spread,
        fields=fields,
        files=tuple(files),
        curve=curve,
        predictions=predictions,
        missing=tuple(missing),
    )


def _outcome(recorded: Record, repeated: Record, spread: Spread | None, *, same: bool) -> Outcome:
    if same:
        return Outcome.SAME
    before, now = score_of(recorded), score_of(repeated)
    if recorded.status != repeated.status or (before is None) != (now is None):
        return Outcome.OUTSIDE
    if before is None or now is None or before == now:  # both diverged, or have the same score
        return Outcome.WITHIN
    return Outcome.WITHIN if spread is not None and spread.holds(now) else Outcome.OUTSIDE


def curve_difference(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> CurveDifference | None:
    """How two curves differ; None if they are the same."""
    one, other = ({line["step"]: line for line in lines} for lines in (first, second))
    differing = sorted(step for step in one.keys() | other.keys() if one.get(step) != other.get(step))
    if not differing:
        return None
    losses = {step: _apart(one[step], other[step]) for step in differing if step in one and step in other}
    apart = {step: loss for step, loss in losses.items() if loss}
    at_step = max(apart, key=lambda step: apart[step], default=None)
    return CurveDifference(differing[0], None if at_step is None else apart[at_step], at_step)


def _apart(first: dict[str, Any], second: dict[str, Any]) -> float:
    """The difference of two losses; 0 where one of them was not finite."""
    if first["loss"] is None or second["loss"] is None:
        return 0.0
    return abs(float(first["loss"]) - float(second["loss"]))


def _predictions(task: Task, first: Path, second: Path) -> PredictionDifference | None:
    """How the predictions in two files differ. The first may be out of a bundle, without the texts of rows."""
    one, other = read_alike(task, first, second)
    assert one is not None  # both files are there
    assert other is not None
    return prediction_difference(one, other)


def prediction_difference(first: Predictions, second: Predictions) -> PredictionDifference | None:
    """How two sets of predictions differ; None if every split has the same rows, with the same value in each column."""
    differing = examples = only_in_one = 0
    same = first.keys() == second.keys()
    for split in first.keys() | second.keys():
        one, other = first.get(split), second.get(split)
        if one is None or other is None:
            only_in_one += sum(len(columns["row"]) for columns in (one, other) if columns)
            continue
        one, other = in_order(one), in_order(other)
        if not np.array_equal(one["row"], other["row"]):
            only_in_one += len(np.setxor1d(one["row"], other["row"]))
            shared = np.intersect1d(one["row"], other["row"])
            one, other = ({name: values[np.isin(c["row"], shared)] for name, values in c.items()} for c in (one, other))
        differs = np.array([not same_value(a, b) for a, b in zip(one["prediction"], other["prediction"], strict=True)])
        differing, examples = differing + int(differs.sum()), examples + len(differs)
        columns = one.keys() == other.keys() and all(
            all(same_value(a, b) for a, b in zip(one[name], other[name], strict=True)) for name in one
        )
        same = same and columns
    return (
        None if same and not differing and not only_in_one else PredictionDifference(differing, examples, only_in_one)
    )
