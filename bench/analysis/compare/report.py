"""A comparison of two sides as text: for a terminal, as Markdown, and as HTML; and whether the second side is worse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.analysis.compare.differences import Change, Differences, Group, OverTasks, lost_score
from bench.analysis.compare.sides import Pair, Paired, Side
from bench.analysis.compare.tables import cell_table, environment_table, group_table, over_tasks_table, spec_table
from bench.analysis.stats.over_tasks import MeanDifference
from bench.analysis.stats.paired import Interval
from bench.analysis.tables.model import Table
from bench.analysis.tables.render import html_page, markdown
from bench.analysis.wording import in_unit, interval_texts
from bench.config.metric_facts import MetricFacts
from bench.records.schema import Record

MOST_NAMES = 12  # that a line lists
TITLE = "Comparison of two sides"


@dataclass(frozen=True)
class Report:
    """What was found: lines of text, then tables. `cells` is its own table where a group has several seeds."""

    paired: Paired
    groups: dict[Group, Change]
    cells: list[Change]
    over_tasks: list[OverTasks]

    @property
    def lines(self) -> list[str]:
        """What is compared, what has the same bits, and what is not compared."""
        pairs = self.paired.pairs
        return [
            _side("A", self.paired.first, [pair.first for pair in pairs]),
            _side("B", self.paired.second, [pair.second for pair in pairs]),
            _bits(pairs),
            *_differing_specs(pairs),
            *_ended_otherwise(pairs),
            *_incomparable(pairs, self.cells),
            *_only_in("A", self.paired.only_first),
            *_only_in("B", self.paired.only_second),
        ]

    @property
    def tables(self) -> list[Table]:
        pairs = self.paired.pairs
        tables = [over_tasks_table(self.over_tasks)] if self.over_tasks else []
        if self.groups:
            tables.append(group_table(self.groups))
        if any(len(change.pairs) > 1 for change in self.groups.values()):
            tables.append(cell_table(self.cells))
        others = (spec_table(pairs), environment_table(pairs))
        return [*tables, *(table for table in others if table.rows)]

    def markdown(self) -> str:
        tables = ["#" + markdown(table) for table in self.tables]  # a level below the title
        lines = "\n".join(f"- {line}" for line in self.lines)
        return f"# {TITLE}\n\n{lines}\n\n" + "\n".join(tables)

    def html(self) -> str:
        return html_page(TITLE, self.lines, self.tables)


def report_on(paired: Paired) -> Report:
    """Compare all pairs. Raises BenchError if predictions can't be read or don't give the recorded score."""
    differences = Differences(paired.pairs)
    groups = differences.groups()
    return Report(paired, groups, differences.cells(), differences.over_tasks(groups))


def drops(report: Report, limit: float) -> list[str]:
    """In what the second side is worse by more than `limit`, a line each; empty if in nothing.

    The limit is in points, or in the unit of a metric that tables show as it is.

    A difference counts if it is larger than the limit and its interval excludes zero: of a task x method x budget, or
    of a method x budget over tasks. A cell with a score on the first side that ended without one on the second counts
    too. One that the second side has not recorded does not.
    """
    found = []
    for (_, task, method, budget), change in report.groups.items():
        if change.worse_by(limit / change.facts.factor) and change.interval:
            found.append(f"{task}/{method}/{budget}: {_text(change.facts, change.difference, change.interval)}")
    for over in report.over_tasks:
        if over.worse_by(limit / 100) and over.mean:
            found.append(
                f"{over.method}/{over.budget}, over {len(over.changes)} tasks: "
                f"{_text(over.changes[0].facts, over.mean.difference, over.mean)}"
            )
    for pair in report.paired.pairs:
        if pair.first.status == "ok" and pair.second.status != "ok":
            found.append(f"{pair.id}: ended with status {pair.second.status!r}")
        elif lost_score(pair):
            found.append(f"{pair.id}: ended with an undefined score")
    return found


def undecided(report: Report) -> list[str]:
    """The groups of which nothing tells whether the difference is one: they have no interval."""
    return ["/".join(group[1:]) for group, change in report.groups.items() if not change.decided]


def _text(facts: MetricFacts, difference: float, interval: Interval | MeanDifference) -> str:
    found, bounds = interval_texts(facts, difference, interval.low, interval.high)
    return f"{in_unit(facts, found)} {bounds}"


def _side(letter: str, side: Side, records: Sequence[Record]) -> str:
    commits = Counter(str(record.environment.get("commit"))[:12] for record in records)
    torches = dict.fromkeys(str(record.environment.get("packages", {}).get("torch")) for record in records)
    devices = dict.fromkeys(str(record.environment.get("device_name")) for record in records)
    named = f"commit {', '.join(commits)}; PyTorch {', '.join(torches)}; {', '.join(devices)}"
    return f"{letter}: {side.name} ({named})"


def _bits(pairs: Sequence[Pair]) -> str:
    same = sum(pair.same_bits for pair in pairs)
    if same == len(pairs):
        return f"All cells that both have, {same}, are the same bit for bit: no difference."
    return f"The same bit for bit: {same} of the {len(pairs)} cells that both have."


def _differing_specs(pairs: Sequence[Pair]) -> Iterator[str]:
    names = [pair.id for pair in pairs if pair.spec]
    if names:
        yield f"Compared though their specs differ (see the table of specs): {_listed(names)}."


def _ended_otherwise(pairs: Sequence[Pair]) -> Iterator[str]:
    names = [
        f"{pair.id} ({pair.first.status} in A, {pair.second.status} in B)"
        for pair in pairs
        if pair.first.status != pair.second.status
    ]
    if names:
        yield f"Ended otherwise: {_listed(names)}."


def _incomparable(pairs: Sequence[Pair], cells: Sequence[Change]) -> Iterator[str]:
    compared = {(pair.study, pair.id) for change in cells for pair in change.pairs}
    names = [p.id for p in pairs if (p.study, p.id) not in compared and p.first.status == p.second.status == "ok"]
    if names:
        yield f"Not compared, since a score is undefined or they report other metrics: {_listed(names)}."


def _only_in(letter: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"Only in {letter}: {_listed(names)}."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
