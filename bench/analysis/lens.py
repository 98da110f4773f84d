"""A study seen through the protocols: its trainings, each method's numbers and their differences, by protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

from bench.analysis.protocols import Protocol, Report, Run, difference, report, run_of
from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer, Comparison, Contrast
from bench.analysis.tuning_results import Group
from bench.config.metric_facts import MetricFacts
from bench.errors import BenchError
from bench.records.io import read_curve
from bench.records.schema import Record

ORDER = sorted(Protocol, key=lambda protocol: protocol.optimistic)  # stable: the optimistic ones last


@dataclass
class Lens:
    """A study seen through the protocols. Each curve is read once.

    Attributes:
        baseline: the method that all others are compared with: LoRA, or the study's first where there is none.
    """

    comparer: Comparer
    baseline: str = field(init=False)

    def __post_init__(self) -> None:
        methods = list(self.results.labels)
        self.baseline = "lora" if "lora" in methods else methods[0]

    @property
    def results(self) -> Results:
        return self.comparer.results

    @property
    def reported(self) -> Protocol:
        """The protocol of all other tables."""
        return Protocol.of_study(self.results.study.study.selection)

    @cached_property
    def groups(self) -> list[Group]:
        """By task, then budget, then method, so that what is compared stands together."""
        return [
            (task, method, budget)
            for task in self.results.tasks
            for budget in self.results.budgets
            for method in self.results.labels
            if self.results.seeds_planned(task, method, budget)
        ]

    @cached_property
    def runs(self) -> dict[Group, list[Run]]:
        """The trainings of each group that ended well."""
        return {group: [self._run(record) for record in self.results.successful(*group)] for group in self.groups}

    @cached_property
    def protocols(self) -> list[Protocol]:
        """Those that say something: of some group they are known, and they pick a seed only where there are several."""
        most = max(map(len, self.runs.values()))
        known = {protocol for runs in self.runs.values() for run in runs for protocol in run.scores}
        return [p for p in ORDER if p.of_run in known and (most > 1 or not p.picks_seed)]

    @property
    def compares(self) -> bool:
        return len(self.results.labels) > 1

    @property
    def differ(self) -> bool:
        """Whether the protocols give more than one number for any group."""
        for group in self.groups:
            values = [found.value for protocol in self.protocols if (found := self.report(protocol, group))]
            if values and not math.isclose(min(values), max(values), abs_tol=1e-12):
                return True
        return False

    @cached_property
    def comparisons(self) -> dict[Group, Comparison | None]:
        """Of each group with the baseline, by the reported protocol, with an interval where one holds."""
        return {group: self.comparer.compare(self._contrast(group)) for group in self.groups if self.is_compared(group)}

    def metric(self, group: Group) -> MetricFacts:
        """The reported metric of the group's task."""
        task = self.results.tasks[group[0]]
        return task.metric_facts(task.metric)

    def first(self, group: Group) -> Group:
        """The group that this one is compared with."""
        return group[0], self.baseline, group[2]

    def is_compared(self, group: Group) -> bool:
        """Whether the study asks for the baseline at the same task and budget."""
        return group != self.first(group) and self.results.seeds_planned(*self.first(group)) > 0

    def report(self, protocol: Protocol, group: Group) -> Report | None:
        return report(protocol, self.runs[group], self.metric(group))

    def difference(self, protocol: Protocol, group: Group) -> Report | None:
        """To the baseline; None for the baseline itself, and where it has no such score."""
        if not self.is_compared(group):
            return None
        return difference(protocol, self.runs[self.first(group)], self.runs[group], self.metric(group))

    def name(self, group: Group) -> str:
        """'CoLA, small, AdaLoRA'."""
        task, method, budget = group
        return f"{self.results.task_labels[task]}, {budget}, {self.results.labels[method]}"

    def _contrast(self, group: Group) -> Contrast:
        task, method, budget = group
        spec = self.results.tasks[task]
        return Contrast(task, spec.primary_split, spec.metric, budget, self.baseline, method)

    def _run(self, record: Record) -> Run:
        task = self.results.tasks[record.cell.task]
        file = self.results.paths.cell(record.cell.id).curve
        curve = read_curve(file) if record.cell.id in self._scored_by_epoch else []
        if curve and record.training and curve[-1]["step"] != record.training.steps:
            raise BenchError(f"{file}: ends at step {curve[-1]['step']}, the record beside it {record.training.steps}")
        return run_of(record, curve, task.primary_split, task.metric_facts(task.metric))

    @cached_property
    def _scored_by_epoch(self) -> set[str]:
        """The ids of the cells whose curve has scores."""
        return {cell.id for cell in self.results.cells if cell.recipe.score_epochs}
