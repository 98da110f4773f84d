"""The tables of a comparison of two sides: over tasks, per task x method x budget, per cell, and what else differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from bench.analysis.compare.differences import Change, Group, OverTasks, ratio
from bench.analysis.compare.sides import Pair
from bench.analysis.stats.over_tasks import MeanDifference
from bench.analysis.stats.paired import Interval
from bench.analysis.tables.comparisons import INTERVAL_NOTE
from bench.analysis.tables.model import Column, Entry, Table, count_entry, number_entry, text_entry
from bench.analysis.wording import (
    DASH,
    column_unit,
    difference_text,
    direction_notes,
    interval_texts,
    p_value_text,
    unit_text,
)
from bench.config.metric_facts import MetricFacts
from bench.records.differences import Difference, value_text
from bench.records.schema import Record

SAME = "same bits"
MAX_CELLS = 3  # of the cells that a row of the table of specs names
DIFFERENCE = Column("B − A [95%]", interval=True, unit="points")
RATIOS = (Column("time B/A"), Column("memory B/A"))
OVER_TASKS = (
    Column("method", head=True),
    Column("budget", head=True),
    Column("tasks"),
    Column("A", unit="points"),
    Column("B", unit="points"),
    DIFFERENCE,
)
GROUPS = (
    Column("task", head=True),
    Column("method", head=True),
    Column("budget", head=True),
    Column("metric"),
    Column("A", unit="points"),
    Column("B", unit="points"),
    DIFFERENCE,
    Column("p"),
    Column("seeds"),
    Column("other predictions"),
    *RATIOS,
)
CELLS = (
    Column("cell", head=True),
    Column("metric"),
    Column("A", unit="points"),
    Column("B", unit="points"),
    DIFFERENCE,
    Column("other predictions"),
    *RATIOS,
)
RATIO_NOTE = (
    "Time: of training, second side over first, geometric mean over seeds. Memory: the peak of a GPU; on the CPU, by "
    "how much the training grew. A dash: not recorded, or measured on two kinds of device."
)
BOLD_NOTE = (
    "Bold: the interval excludes zero. Not corrected for the number of differences: of forty true zeros about two are "
    "bold."
)
ONE_SEED_NOTE = "One seed: the interval holds for these trained models, over examples, not for the methods."


def over_tasks_table(found: Sequence[OverTasks]) -> Table:
    several = len({over.study for over in found}) > 1
    rows = tuple(
        (
            text_entry(f"{over.study}: {over.method}" if several else over.method),
            text_entry(over.budget),
            count_entry(len(over.changes)),
            number_entry(facts.shown(over.first)),
            number_entry(facts.shown(over.second)),
            _difference(facts, over.second - over.first, over.mean, same_bits=over.same_bits),
        )
        for over, facts in ((over, over.changes[0].facts) for over in found)
    )
    notes = (
        "Points of each task's own metric; all tasks weigh alike. Interval: the tasks' own ones, combined by "
        "Banerjee's rule.",
        *_bold_note(rows),
    )
    return Table("over_tasks", "Over tasks: mean score in points", OVER_TASKS, rows, notes)


def group_table(groups: Mapping[Group, Change]) -> Table:
    several = len({study for study, *_ in groups}) > 1
    rows = []
    for (study, task, method, budget), change in groups.items():
        heads = (f"{study}: {task}" if several else task, method, budget, change.facts.label)
        p = change.interval.p if change.interval else None
        rows.append(
            (
                *map(text_entry, heads),
                *_scores(change),
                Entry(p_value_text(p), p),
                count_entry(len(change.pairs)),
                *_rest(change),
            )
        )
    notes = [INTERVAL_NOTE, *_bold_note(rows), *_missing_notes(groups.values())]
    notes += [ONE_SEED_NOTE] if any(len(change.pairs) == 1 for change in groups.values()) else []
    metrics = [change.facts for change in groups.values()]
    title = f"Per task, method and budget: score in {_unit(metrics)}, paired over seeds and examples"
    notes += direction_notes(metrics)
    return Table("groups", title, _in_units(GROUPS, metrics), tuple(rows), (*notes, RATIO_NOTE))


def cell_table(cells: Sequence[Change]) -> Table:
    rows = tuple(
        (text_entry(change.pairs[0].id), text_entry(change.facts.label), *_scores(change), *_rest(change))
        for change in cells
    )
    metrics = [change.facts for change in cells]
    title = f"Per cell: score in {_unit(metrics)}, paired over examples"
    notes = (ONE_SEED_NOTE, *_bold_note(rows), *direction_notes(metrics), RATIO_NOTE)
    return Table("cells", title, _in_units(CELLS, metrics), rows, notes)


def _unit(metrics: Sequence[MetricFacts]) -> str:
    return column_unit(metrics) or unit_text(metrics)


def _in_units(columns: Sequence[Column], metrics: Sequence[MetricFacts]) -> tuple[Column, ...]:
    """The columns, which name a unit only where all metrics share it."""
    return tuple(replace(column, unit=column_unit(metrics)) if column.unit else column for column in columns)


def environment_table(pairs: Sequence[Pair]) -> Table:
    """What differs in the environments, a row per name and pair of values, with the number of cells."""
    return _table_of(
        "environments", "What differs in the environments", pairs, lambda pair: pair.environment, "in the environment"
    )


def spec_table(pairs: Sequence[Pair]) -> Table:
    """What differs in the specs, a row per key and pair of values, with the cells."""
    return _table_of("specs", "What differs in the specs", pairs, lambda pair: pair.spec, "key")


def _table_of(
    name: str, title: str, pairs: Sequence[Pair], of_pair: Callable[[Pair], Mapping[str, Difference]], what: str
) -> Table:
    cells: dict[tuple[str, str, str], list[str]] = {}
    for pair in pairs:
        for key, (first, second) in of_pair(pair).items():
            cells.setdefault((key, value_text(first), value_text(second)), []).append(pair.id)
    rows = tuple((*map(text_entry, (*key, _cells(names, len(pairs)))),) for key, names in sorted(cells.items()))
    columns = (Column(what, head=True), Column("A", head=True), Column("B", head=True), Column("cells"))
    return Table(name, title, columns, rows)


def _cells(names: Sequence[str], total: int) -> str:
    if len(names) == total:
        return f"all {total}"
    return ", ".join(names) if len(names) <= MAX_CELLS else f"{len(names)} of {total}"


def _scores(change: Change) -> tuple[Entry, ...]:
    return (
        number_entry(change.facts.shown(change.first), change.facts.digits),
        number_entry(change.facts.shown(change.second), change.facts.digits),
        _difference(change.facts, change.difference, change.interval, same_bits=change.same_bits),
    )


def _rest(change: Change) -> tuple[Entry, ...]:
    others = DASH if change.differing is None else f"{change.differing:,} of {change.examples:,}"
    ratios = (ratio(change, _seconds), None if _devices(change) > 1 else ratio(change, _bytes))
    return (text_entry(others), *(number_entry(value) for value in ratios))


def _difference(
    facts: MetricFacts, difference: float, interval: Interval | MeanDifference | None, *, same_bits: bool
) -> Entry:
    """'−2.00 [−3.10, −0.90]' in the unit of tables, bold where the interval excludes zero."""
    shown = facts.shown(difference)
    if same_bits:
        return Entry(SAME, shown)
    if interval is None:
        return Entry(difference_text(facts, difference), shown)
    low, high = facts.shown(interval.low), facts.shown(interval.high)
    text = " ".join(interval_texts(facts, difference, interval.low, interval.high))
    return Entry(text, shown, low=low, high=high, bold=interval.excludes_zero)


def _bold_note(rows: Iterable[Sequence[Entry]]) -> list[str]:
    """What bold means here, which is less than in the tables of a study; nothing where nothing is bold."""
    return [BOLD_NOTE] if any(entry.bold for row in rows for entry in row) else []


def _missing_notes(changes: Iterable[Change]) -> list[str]:
    counts = Counter(change.missing.value for change in changes if change.missing)
    return [f"No interval, {why}: {count} of the differences." for why, count in sorted(counts.items())]


def _devices(change: Change) -> int:
    """How many kinds of device the peaks are of."""
    records = [record for pair in change.pairs for record in (pair.first, pair.second)]
    return len({record.bytes.peak.device.partition(":")[0] for record in records if record.bytes})


def _seconds(record: Record) -> float | None:
    return record.training.seconds.training if record.training else None


def _bytes(record: Record) -> float | None:
    if record.bytes is None:
        return None
    peak = record.bytes.peak
    return peak.growth if peak.device == "cpu" else peak.peak
