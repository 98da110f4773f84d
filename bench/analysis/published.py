"""Published numbers to print beside ours: results/reference/*.csv, with remarks on those known to be wrong."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from bench.analysis.reference.ledger import MIXED, SECONDARY, LedgerLine, ledger_files, read_ledger
from bench.analysis.results import Results
from bench.analysis.wording import number_text
from bench.config.study import Limits
from bench.paths import reference_folder

PUBLISHED_RANKS = {"small": 2, "large": 8}  # average rank per matrix behind the budgets of the published studies
MOST_DIGITS = 2  # decimals, as those of our scores
PROTOCOL_FACTS = {
    "last": "of the last step",
    "best on dev": "of the best step on these rows, which is optimistic",
    "not said": "whether it is of the last step or the best on these rows is not said",
}
Place = tuple[str, str, str, str]  # task, metric, split, budget


@dataclass(frozen=True)
class PublishedNumber:
    """One number, as tables show its metric: in points, or a perplexity.

    An empty `split` means the first split of the task; an empty `backbone`, not stated. `digits`: how many decimals of
    it are shown, no more than are printed.
    """

    source: str
    task: str
    backbone: str
    metric: str
    split: str
    method: str
    budget: str
    points: float
    seeds: str
    remark: str
    parameters: str = ""
    protocol: str = ""
    copied_from: str = ""
    quality: str = ""
    digits: int = MOST_DIGITS

    @property
    def secondary(self) -> bool:
        """Whether it was read in notes on the paper, not in the paper."""
        return self.quality == SECONDARY

    @property
    def facts(self) -> list[str]:
        """What a reader must know of it beside its source: the remark, what it is copied from, and the protocol."""
        kind, _, origin = self.copied_from.partition(": ")
        if kind == MIXED:
            copied = f"of a row that mixes values copied{' from ' + origin if origin else ''} with others"
        else:
            copied = f"copied from {self.copied_from}" if self.copied_from else ""
        return [fact for fact in (self.remark, copied, PROTOCOL_FACTS.get(self.protocol, "")) if fact]

    @property
    def single_facts(self) -> list[str]:
        """The same, with the parts of the remark one by one."""
        return [part for fact in self.facts for part in (fact.split("; ") if fact == self.remark else [fact])]

    @property
    def number(self) -> str:
        """'68.71', '92.7'."""
        return number_text(self.points, self.digits)

    @property
    def text(self) -> str:
        """'68.71 (5)': the number, and in parentheses how many seeds it averages, if that is known."""
        return self.number + (f" ({self.seeds})" if self.seeds else "")


@dataclass(frozen=True)
class Published:
    """The numbers that a study's scores can be held against.

    Attributes:
        first_split: by task, the split that a number without a split belongs to.
        limits: on the rows of the study, which may have fewer than the published data sets.
    """

    numbers: tuple[PublishedNumber, ...]
    first_split: dict[str, str]
    limits: Limits = field(default_factory=Limits)

    def find(self, place: Place, method: str) -> PublishedNumber | None:
        """The number of the first source that has one; none that was read in notes on a paper."""
        return next((n for n in self.at(place) if n.method == method and not n.secondary), None)

    def at(self, place: Place) -> list[PublishedNumber]:
        """Every number for the task, metric, split and budget, of any method, in the order of the files."""
        task, metric, split, budget = place
        return [
            number
            for number in self.numbers
            if (number.task, number.metric, number.budget) == (task, metric, budget)
            and (number.split or self.first_split.get(task)) == split
        ]

    def notes(self, places: Sequence[Place], results: Results) -> list[str]:
        """The sources of the numbers of the methods at these places, and what is wrong with some of them."""
        candidates = [
            self.find(place, method)
            for place in places
            for method in results.labels
            if results.seeds_planned(place[0], method, place[3])  # else it is in no row
        ]
        numbers = [number for number in candidates if number is not None]
        if not numbers:
            return []
        sources = ", ".join(dict.fromkeys(number.source for number in numbers))
        notes = [f"Published numbers (seeds in brackets): {sources}; other hardware and code.", *self._limits_note()]
        # One note per fact, since a fact often holds for a whole column of a published table.
        for fact in dict.fromkeys(fact for number in numbers for fact in number.facts):
            cells = [
                f"{results.task_labels[n.task]} {results.labels[n.method]} {n.budget} {n.number}"
                for n in numbers
                if fact in n.facts
            ]
            notes.append(f"Published {', '.join(cells)}: {fact}.")
        return notes

    def _limits_note(self) -> list[str]:
        limits = {"training": self.limits.train_rows, "evaluation": self.limits.evaluation_rows}
        limited = [f"{count:,} {kind} rows" for kind, count in limits.items() if count]
        if not limited:
            return []
        return [f"Published numbers are of the whole data sets; ours of at most {', '.join(limited)}."]

    def secondary_notes(self, numbers: Sequence[PublishedNumber], results: Results) -> list[str]:
        """What must be known of numbers that were read in notes on papers, fact by fact for rows of a source."""
        notes = ["Read in notes on the papers, not in the papers: check a number against its paper before it is cited."]
        rows = dict.fromkeys((number.source, number.method, number.budget) for number in numbers)
        facts = dict.fromkeys(fact for number in numbers for fact in number.single_facts)
        for fact in facts:
            stated = [number for number in numbers if fact in number.single_facts]
            named = [row for row in rows if any((n.source, n.method, n.budget) == row for n in stated)]
            shown = [n for n in numbers if (n.source, n.method, n.budget) in named]
            # A fact of some scores alone, such as those of MNLI, names their tasks.
            tasks = [] if len(stated) == len(shown) else [results.task_labels[n.task] for n in stated]
            notes.append(f"{_where(named, rows, tasks, results)}: {fact}.")
        return [*notes, *self._limits_note()]


def method_label(results: Results, method: str) -> str:
    """The label of a method of the study, or of one that a study could have; else the name itself."""
    if method in results.labels:
        return results.labels[method]
    entry = results.study.catalog.methods.get(method)
    return method if entry is None else entry.item.label or method


def read_published(results: Results) -> Published:
    """The published numbers for the study's tasks that have the same backbone and the same rank at their budget.

    There are none for a study on synthetic rows. Raises BenchError with file and line if a file is malformed.
    """
    first_split = {name: task.primary_split for name, task in results.tasks.items()}
    # A published number beside the score on synthetic rows would invite a comparison that means nothing.
    if any(record.data.get("synthetic") for record in results.records.values()):
        return Published((), first_split)
    files = ledger_files(*(reference_folder(folder.parent) for folder in results.study.catalog.folders))
    numbers = [_number(line, line.points) for line in read_ledger(files) if line.points is not None]
    backbones = {cell.task.name: cell.backbone.name for cell in results.cells}
    ranks = {name: budget.rank for name, budget in results.study.study.budgets.items()}
    # The same name of a budget is not enough: it must have the rank that the publication used.
    comparable = [
        number
        for number in numbers
        if (not number.backbone or number.backbone == backbones.get(number.task))
        and (number.budget not in PUBLISHED_RANKS or ranks.get(number.budget) == PUBLISHED_RANKS[number.budget])
    ]
    return Published(tuple(comparable), first_split, results.study.study.limits)


def _number(line: LedgerLine, points: float) -> PublishedNumber:
    return PublishedNumber(
        source=line.title,
        task=line.task,
        backbone=line.backbone,
        metric=line.metric,
        split=line.split,
        method=line.method,
        budget=line.budget,
        points=points,
        seeds=line.seeds,
        remark=line.remark,
        parameters=line.parameters,
        protocol=line.protocol,
        copied_from=line.copied_from,
        quality=line.quality,
        digits=min(line.digits, MOST_DIGITS),
    )


def _where(
    named: Sequence[tuple[str, str, str]],
    rows: Collection[tuple[str, str, str]],
    tasks: Sequence[str],
    results: Results,
) -> str:
    """Which of the rows (source, method, budget) something is said of, and of which tasks if not of all."""
    by_source: dict[str, list[str]] = {}
    for source, method, budget in named:
        by_source.setdefault(source, []).append(f"{method_label(results, method)} {budget}")
    listed = "; ".join(f"{source}, {', '.join(names)}" for source, names in by_source.items())
    where = "all rows" if len(named) == len(rows) else listed
    return f"{', '.join(dict.fromkeys(tasks))} of {where}" if tasks else where[0].upper() + where[1:]
