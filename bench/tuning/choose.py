"""The choice of a group: the point whose trials did best on held-out rows, and the cells that are trained with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from bench.config.cell import Cell, Choice
from bench.config.metric_facts import MetricFacts
from bench.config.resolve import ResolvedStudy
from bench.config.trials import trained_like
from bench.errors import BenchError
from bench.paths import StudyPaths
from bench.tuning.outcomes import Outcome, compared_by, outcomes, trial_record, worth


def choose(trials: Sequence[Cell], paths: StudyPaths) -> Choice | None:
    """The choice of the group that has these trials; None while one of them has no record, or if none has a score.

    The best is the highest mean over trial seeds of the task's first metric on the held-out rows (the lowest, where
    lower is better), or with `choose_by: loss` the lowest mean loss. A trial that diverged or ran out of memory is a
    result, the worst, as is an undefined metric. Ties go to the lower mean loss, then to the first point. Under
    successive halving what went on is ahead of what was stopped before. With `choose: one_standard_error` the first
    point is taken that is not told apart from the best (`not_told_apart`).

    Raises BenchError if a record can't be read.
    """
    found = outcomes(trials, paths)
    return choose_from(trials, found) if found else None


def choose_from(trials: Sequence[Cell], found: Sequence[Outcome]) -> Choice | None:
    """The choice from these `outcomes` of a group's trials; None if none of them has a score."""
    by = compared_by(trials[0])
    best = min(found, key=lambda outcome: _order(by, outcome))  # the first of those that are equal
    if best.score is None:
        return None
    hashes = {name: identity for outcome in found for name, identity in outcome.trials.items()}
    trial = trials[0].trial
    if trial is not None and trial.choose == "one_standard_error":
        best = next(outcome for outcome in found if outcome is best or not_told_apart(outcome, best))
    return Choice(values=best.values, by=by.key, score=best.score, trials=hashes)


def not_told_apart(outcome: Outcome, best: Outcome) -> bool:
    """Whether the mean score of a point is within one standard error of the best one's.

    The standard error is that of the mean difference over trial seeds, paired, since all points share their seeds and
    rows: sd / sqrt(n). Breiman et al. 1984, Classification and Regression Trees, section 3.4.3, have the rule with the
    best one's own standard error. A point with a trial that has no score, or that was stopped earlier, is told apart.
    """
    if outcome.stopped_at_rung != best.stopped_at_rung or None in outcome.scores:
        return False
    differences = [one - other for one, other in zip(outcome.scores, best.scores, strict=True)]  # type: ignore[operator]
    return abs(fmean(differences)) <= stdev(differences) / math.sqrt(len(differences))


def chosen_cell(study: ResolvedStudy, cell: Cell, results: Path) -> Cell:
    """The final cell `cell` with the values and the choice of its group; as it is if the study does not tune it.

    Raises BenchError if trials of the group are not recorded, if none of them has a score, or if a record can't be
    read.
    """
    if not study.awaits_choice(cell):
        return cell
    trials, paths = study.trials[cell.tuned_group], StudyPaths(results, study.name)
    choice = choose(trials, paths)
    if choice is None:
        raise BenchError(f"{cell.id}: its values are not chosen yet: {why_not(trials, paths)}")
    return _with_choice(cell, choice, trials)


def with_choices(study: ResolvedStudy, results: Path) -> ResolvedStudy:
    """`study` with the choice in every final cell whose choice is known; the others await theirs.

    Raises BenchError if a record can't be read.
    """
    paths = StudyPaths(results, study.name)
    return with_these_choices(study, {group: choose(trials, paths) for group, trials in study.trials.items()})


def with_these_choices(study: ResolvedStudy, choices: Mapping[str, Choice | None]) -> ResolvedStudy:
    """`study` with these choices, by group, in the final cells that await theirs."""
    cells = []
    for cell in study.cells:
        choice = choices.get(cell.tuned_group) if study.awaits_choice(cell) else None
        cells.append(cell if choice is None else _with_choice(cell, choice, study.trials[cell.tuned_group]))
    return replace(study, cells=tuple(cells))


def why_not(trials: Sequence[Cell], paths: StudyPaths) -> str:
    """Why the group that has these trials has no choice. Raises BenchError if a record can't be read."""
    missing = [trial.id for trial in trials if trial_record(trial, paths) is None]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"{len(missing)} of {len(trials)} trials have no record of their spec: {missing[0]}{more}"
    return f"none of its {len(trials)} trials has a score"


def _with_choice(cell: Cell, choice: Choice, trials: Sequence[Cell]) -> Cell:
    chosen = next(t for t in trials if t.trial is not None and t.trial.values == choice.values)
    return trained_like(cell, chosen).model_copy(update={"choice": choice})


def _order(by: MetricFacts, outcome: Outcome) -> tuple[bool, float, tuple[float, float]]:
    """A key that sorts outcomes from the best to the worst."""
    rung = math.inf if outcome.stopped_at_rung is None else outcome.stopped_at_rung
    return outcome.score is None, -rung, worth(by, outcome.score, outcome.loss)
