"""What a study's tuning found, read from the records of its trials: every point of every group, and the chosen one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from bench.config.cell import Cell, Choice
from bench.config.metric_facts import OF_LOSS, MetricFacts
from bench.config.recipe import Recipe
from bench.config.resolve import ResolvedStudy
from bench.config.tuning import HELD_OUT, Tuning, Values
from bench.paths import StudyPaths
from bench.records.energy import Energy
from bench.records.io import read_record
from bench.records.schema import Record, Status
from bench.tuning.choose import choose_from
from bench.tuning.outcomes import compared_by, outcome_of

Group = tuple[str, str, str]  # task, method, budget: cells that differ in the seed alone


@dataclass(frozen=True)
class TrialResult:
    """The outcome of one trial.

    Attributes:
        scores: on the held-out rows, by metric, as recorded; None where a metric is undefined. Empty if it failed.
        loss: mean loss on the held-out rows; None if it is not finite or the trial failed.
        steps: that were trained.
        stopped_at_rung: the rung of successive halving, from 1, at which the trial was stopped; None if at none.
        seconds: wall time times the number of processes.
        device: kind of device, such as cpu or cuda.
        device_name: its model.
        timed: whether its seconds were recorded; those of a trial that failed early are not.
    """

    cell: Cell
    status: Status
    scores: Mapping[str, float | None]
    loss: float | None
    steps: int
    stopped_at_rung: int | None
    seconds: float
    device: str
    device_name: str | None = None
    timed: bool = True
    energy: Energy | None = None

    def score(self, by: str) -> float | None:
        """The metric `by`, or the loss; None if the trial failed or has none."""
        return self.loss if by == OF_LOSS else self.scores.get(by)


@dataclass(frozen=True)
class PointResult:
    """One point and its trials: one per trial seed, as far as they are recorded.

    Attributes:
        score: mean over trial seeds of what points are chosen by (a fraction, or a loss). None if a trial failed, has
            no score or is missing.
        loss: likewise, of the loss on the held-out rows.
        planned: number of trial seeds.
    """

    key: str
    values: Values
    trials: tuple[TrialResult, ...]
    score: float | None
    loss: float | None
    planned: int

    @property
    def complete(self) -> bool:
        """Whether every trial is recorded, failed ones included."""
        return len(self.trials) == self.planned


@dataclass(frozen=True)
class GroupTuning:
    """How one group (task x method x budget) was tuned.

    Attributes:
        by: the metric that points are chosen by, or "loss"; `facts` tells its range and how it is written.
        points: in the order in which they were drawn; empty where the values were taken over from another study.
        choice: None until it is known.
        held_out_rows: number of rows that each trial is scored on; 0 where values were taken over.
        halving: whether some trials may stop before their end, so that scores are of different steps.
    """

    group: Group
    facts: MetricFacts
    points: tuple[PointResult, ...]
    choice: Choice | None
    held_out_rows: int = 0
    halving: bool = False

    @property
    def by(self) -> str:
        return self.facts.key

    @property
    def trials(self) -> list[TrialResult]:
        """All recorded trials, by point and seed."""
        return [trial for point in self.points for trial in point.trials]

    @property
    def planned(self) -> int:
        """Number of trials that the study asks for."""
        return sum(point.planned for point in self.points)

    @property
    def scored(self) -> int:
        """Number of trials with a score."""
        return sum(trial.score(self.by) is not None for trial in self.trials)

    @property
    def statuses(self) -> Counter[Status]:
        return Counter(trial.status for trial in self.trials)

    @property
    def complete(self) -> bool:
        """Whether every trial is recorded."""
        return all(point.complete for point in self.points)

    @property
    def chosen(self) -> PointResult | None:
        """The chosen point; None if there is no choice, or if it is none of the points."""
        values = self.choice.values if self.choice else None
        return next((point for point in self.points if point.values == values), None)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of all recorded trials, by kind of device."""
        seconds: dict[str, float] = {}
        for trial in self.trials:
            seconds[trial.device] = seconds.get(trial.device, 0.0) + trial.seconds
        return seconds


@dataclass(frozen=True)
class TuningResults:
    """The tuning of a study; empty (and false) for a study that neither tunes nor takes values over.

    Attributes:
        tuning: the block of the study; None where values were taken over.
        outdated: ids of trials whose record was made with another spec than the study has today.
    """

    tuning: Tuning | None = None
    groups: Mapping[Group, GroupTuning] = field(default_factory=dict)
    outdated: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.groups)

    def restricted_to(self, methods: Collection[str]) -> TuningResults:
        """The tuning of these methods alone."""
        return replace(self, groups={name: group for name, group in self.groups.items() if name[1] in methods})

    def with_choices_of(self, cells: Iterable[Cell]) -> TuningResults:
        """The same with the choices of these cells in the groups whose trials do not tell theirs."""
        choices = {(cell.task.name, cell.method.name, cell.budget_name): cell.choice for cell in cells if cell.choice}
        groups = {
            name: group if group.choice else replace(group, choice=choices.get(name))
            for name, group in self.groups.items()
        }
        return replace(self, groups=groups)

    @cached_property
    def keys(self) -> list[str]:
        """The tuned recipe keys."""
        choices = [group.choice.values for group in self.groups.values() if group.choice]
        return list(dict.fromkeys([*(self.tuning.space if self.tuning else ()), *(key for c in choices for key in c)]))

    @cached_property
    def panels(self) -> list[tuple[str, str]]:
        """Every task and budget, in the study's order: the groups of one panel differ in the method alone."""
        return list(dict.fromkeys((task, budget) for task, _, budget in self.groups))

    def panel(self, task: str, budget: str) -> dict[str, GroupTuning]:
        """The groups of a task and budget, by method."""
        return {m: group for (t, m, b), group in self.groups.items() if (t, b) == (task, budget)}


def read_tuning(study: ResolvedStudy, paths: StudyPaths) -> TuningResults:
    """The tuning of `study`, with the choices that its trials make or that it takes over.

    Each record is read once, and only what tables need of it stays in memory. Raises BenchError if one cannot be read.
    """
    groups: dict[Group, GroupTuning] = {}
    outdated: list[str] = []
    for cell in study.cells:
        name = (cell.task.name, cell.method.name, cell.budget_name)
        trials = study.trials.get(cell.group, ())
        if name in groups:
            continue
        if trials:
            groups[name] = _group_of(name, trials, paths, outdated)
        elif cell.choice is not None:
            groups[name] = GroupTuning(name, cell.task.metric_facts(cell.choice.by), (), cell.choice)
    return TuningResults(study.study.tuning, groups, tuple(outdated))


def _group_of(name: Group, trials: Sequence[Cell], paths: StudyPaths, outdated: list[str]) -> GroupTuning:
    """The tuning of the group that has these trials; the ids of trials of another spec are added to `outdated`."""
    by_point: dict[str, list[Cell]] = {}
    for cell in trials:
        assert cell.trial is not None
        by_point.setdefault(cell.trial.point, []).append(cell)
    points, outcomes = [], []
    for key, cells in by_point.items():
        recorded = list(_recorded(cells, paths, outdated))
        outcome = outcome_of(recorded) if len(recorded) == len(cells) else None
        points.append(
            PointResult(
                key=key,
                values=cells[0].trial.values if cells[0].trial else {},
                trials=tuple(trial_result(cell, record) for cell, record in recorded),
                score=outcome.score if outcome else None,
                loss=outcome.loss if outcome else None,
                planned=len(cells),
            )
        )
        outcomes.append(outcome)
    known = [outcome for outcome in outcomes if outcome is not None]
    first = trials[0]
    return GroupTuning(
        name,
        compared_by(first),
        tuple(points),
        choose_from(trials, known) if len(known) == len(outcomes) else None,
        held_out_rows=first.recipe.holdout_rows,
        halving=first.trial is not None and first.trial.halving is not None,
    )


def _recorded(cells: Sequence[Cell], paths: StudyPaths, outdated: list[str]) -> Iterator[tuple[Cell, Record]]:
    """Those of the trials that have a record of their spec, and the record."""
    for cell in cells:
        file = paths.cell(cell.id).record
        if file.is_file():
            record = read_record(file)
            if record.cell.spec_hash == cell.spec_hash:
                yield cell, record
            else:
                outdated.append(cell.id)


def with_recorded_choice(cell: Cell, record: Record) -> Cell:
    """`cell`, whose trials don't tell its values, with the choice that its record was made with.

    As it is if the record names no choice, or one that makes no recipe today.
    """
    try:
        choice = Choice.model_validate_json(json.dumps(record.spec["choice"]))
        tuned = {key: record.spec["recipe"][key] for key in choice.values}
        recipe = Recipe.model_validate_json(json.dumps({**cell.recipe.model_dump(mode="json"), **tuned}))
    except (KeyError, TypeError, ValueError):
        return cell
    return cell.model_copy(update={"recipe": recipe, "choice": choice})


def process_seconds(record: Record, processes: int) -> float:
    """Wall time of a record times the number of processes; 0 where none was recorded."""
    return record.training.seconds.total * processes if record.training else 0.0


def trial_result(cell: Cell, record: Record) -> TrialResult:
    """What is kept of the record of the trial `cell`."""
    scores = record.metrics.get(HELD_OUT, {}).get(record.selection, {}) if record.status == "ok" else {}
    training = record.training
    return TrialResult(
        cell=cell,
        status=record.status,
        scores=scores,
        loss=record.loss.get(HELD_OUT) if record.status == "ok" else None,
        steps=training.steps if training else 0,
        stopped_at_rung=training.stopped_at_rung if training else None,
        seconds=process_seconds(record, cell.recipe.processes),
        device=str(record.environment.get("device")),
        device_name=record.environment.get("device_name"),
        timed=training is not None,
        energy=training.energy if training else None,
    )
