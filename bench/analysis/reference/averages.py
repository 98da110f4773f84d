"""Printed averages: under which rule they follow from the scores of their row.

The rules differ in what they count for a task with several scores: one of its scores, or their mean (`rules.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from bench.analysis.reference.copies import CopiedRow
from bench.analysis.reference.ledger import LedgerLine
from bench.analysis.reference.rows import TOLERANCE, PrintedRow
from bench.analysis.reference.rules import ALONE, MEAN, Rule, parse_rule, rule_text


@dataclass(frozen=True)
class Score:
    """A score in points, and by how much rounding can have moved it."""

    points: float
    half_unit: float


@dataclass(frozen=True)
class AverageCheck:
    """A printed average against the rules.

    Attributes:
        line: the average. row: the row that it belongs to.
        values: the mean in points by rule; empty if the ledger lacks scores of some of the tasks.
        fits: the rules under which it follows, within rounding.
        from_origin: the rules under which it follows from the scores of the row that this one is a copy of, if it
            follows from its own under none.
        tasks: how many tasks of the row the ledger has scores of.
    """

    line: LedgerLine
    row: PrintedRow
    values: Mapping[str, float]
    fits: tuple[str, ...]
    from_origin: tuple[str, ...]
    tasks: int

    @property
    def declared(self) -> bool | None:
        """Whether it follows under a rule that agrees with the declared one; None if none is declared."""
        if not self.line.average_rule:
            return None
        declared = parse_rule(self.line.average_rule)
        return any(declared.items() <= parse_rule(rule).items() for rule in self.fits)

    @property
    def follows(self) -> bool:
        """Whether it follows from the row's own scores, by the declared rule if there is one."""
        return bool(self.fits) and self.declared is not False

    @property
    def nearest(self) -> tuple[str, float] | None:
        """The rule that comes nearest to what is printed, and its mean in points."""
        printed = self.line.points
        assert printed is not None
        return min(self.values.items(), key=lambda item: abs(item[1] - printed), default=None)


def check_averages(rows: Iterable[PrintedRow], copies: Sequence[CopiedRow]) -> list[AverageCheck]:
    """Every printed average of the rows against every rule that the scores of its row allow."""
    origins = {id(copy.row): copy.origin for copy in copies}
    found = []
    for row in rows:
        for line in row.averages:
            values, fits = _fitting(line, row)
            origin = origins.get(id(row))
            from_origin = _fitting(line, origin)[1] if origin is not None and not fits else ()
            tasks = len({cell.task for cell in row.cells})
            found.append(AverageCheck(line, row, values, fits, from_origin, tasks))
    return found


def _fitting(line: LedgerLine, row: PrintedRow) -> tuple[dict[str, float], tuple[str, ...]]:
    """The means in points by rule, and the rules whose mean is the printed one, within the rounding of both."""
    printed, values, fits = line.points, {}, []
    assert printed is not None
    for rule, scores in _rules(row):
        if len(scores) != line.averaged_tasks:
            continue
        value = mean(score.points for score in scores)
        values[rule_text(rule)] = value
        rounding = 0.5 * 10.0**-line.digits + mean(score.half_unit for score in scores)
        if abs(value - printed) <= rounding + TOLERANCE:
            fits.append(rule_text(rule))
    return values, tuple(fits)


def _rules(row: PrintedRow) -> Iterable[tuple[Rule, list[Score]]]:
    """Every rule that the scores of the row allow, with what it counts for each task."""
    by_task: dict[str, list[LedgerLine]] = {}
    for cell in row.cells:
        by_task.setdefault(cell.task, []).append(cell)
    choices = {task: _choices(row, cells) for task, cells in by_task.items()}
    for chosen in itertools.product(*(options.items() for options in choices.values())):
        rule = {task: name for task, (name, _) in zip(choices, chosen, strict=True) if name}
        yield rule, [score for _, score in chosen]


def _choices(row: PrintedRow, cells: Sequence[LedgerLine]) -> dict[str, Score]:
    """By name, what an average may count for a task with these scores; the name of a single score is empty."""
    if len(cells) == 1:
        return {"": _score(cells[0])}
    # Scores of several splits have the names of these, scores of one split those of their metrics.
    several = len({row.place(cell) for cell in cells}) > 1
    named = {row.place(cell)[1] if several else cell.metric: _score(cell) for cell in cells}
    alone = {name: score for name, score in named.items() if name in ALONE}
    printed_mean = named.get("mean_correlation")
    both = Score(
        mean(score.points for score in named.values()),
        mean(score.half_unit for score in named.values()),
    )
    return {**alone, MEAN: printed_mean or both}


def _score(cell: LedgerLine) -> Score:
    assert cell.points is not None
    return Score(cell.points, 0.5 * 10.0**-cell.digits)
