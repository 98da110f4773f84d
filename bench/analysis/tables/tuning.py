"""The table of a study's tuning: per task, method and budget the chosen values, their score, and what trials cost."""

from __future__ import annotations

from statistics import stdev

from bench.analysis.footnotes import footnotes
from bench.analysis.results import Results
from bench.analysis.tables.model import Column, Entry, Table, number_entry, text_entry
from bench.analysis.tuning_cost import TuningCost, tuning_cost
from bench.analysis.tuning_edges import edges
from bench.analysis.tuning_notes import tuning_notes
from bench.analysis.tuning_panels import pair_notes
from bench.analysis.tuning_results import GroupTuning
from bench.analysis.tuning_wording import number_of, value_text
from bench.analysis.wording import DASH, FAILURE_WORDS, direction_notes, metric_text, two_digits

HEADS = (Column("task", head=True), Column("method", head=True), Column("budget", head=True))
COST_NOTE = (
    "Hours: wall time × processes of the recorded trials, by kind of device. Share: theirs in the hours of recorded "
    "trials and cells."
)


def tuning_table(results: Results) -> Table:
    """One row per group that the study tunes or takes values over for, in the study's order."""
    tuning = results.tuning
    costs = {group: tuning_cost(results, group) for group in tuning.groups}
    devices = sorted({device for cost in costs.values() for device in cost.trial_hours})
    tunes = tuning.tuning is not None
    columns = [
        *HEADS,
        *(Column(key, "chosen", parts=("", "remark")) for key in tuning.keys),
        Column("chosen by", "held-out"),
        Column("score", "held-out", parts=("", "sd", "n")),
        Column("rows", "held-out"),
        Column("scored", "trials", parts=("", "n", "remark")),
        *(Column(f"{device} [h]", "trials") for device in devices),
        *([Column("share of the cost [%]", "trials")] if tunes else []),
    ]
    rows = []
    for group, of_group in tuning.groups.items():
        task, method, budget = group
        cost = costs[group]
        row = [text_entry(results.task_labels[task]), text_entry(results.labels[method]), text_entry(budget)]
        row += [_value_entry(of_group, key) for key in tuning.keys]
        row += [
            text_entry(of_group.facts.label),
            _score_entry(of_group),
            _rows_entry(of_group),
            _trials_entry(of_group),
        ]
        row += [hours_entry(cost.trial_hours.get(device)) for device in devices]
        row += [share_entry(cost)] if tunes else []
        rows.append(tuple(row))
    notes = [*tuning_notes(results), *pair_notes(results)]
    notes += direction_notes([group.facts for group in tuning.groups.values()], differences=False)
    if tunes:
        notes.append(f"{COST_NOTE} {_total_text(costs)}")
    return Table(
        name="tuning",
        title="Tuning: the chosen recipe of each task, method and budget",
        columns=tuple(columns),
        rows=tuple(rows),
        footnotes=(*notes, *footnotes(results)),
    )


def hours_entry(hours: float | None) -> Entry:
    return Entry(DASH) if hours is None else Entry(two_digits(hours), hours)


def share_entry(cost: TuningCost) -> Entry:
    return number_entry(None if cost.share is None else 100 * cost.share, 0)


def _value_entry(group: GroupTuning, key: str) -> Entry:
    """The chosen value, and whether it is the lowest or highest that was tried; a dash without a choice."""
    if group.choice is None or key not in group.choice.values:
        return Entry(DASH)
    value = group.choice.values[key]
    edge = edges(group).get(key)
    return Entry(value_text(value), number_of(value), remark=f"{edge[0]} tried" if edge else "")


def _score_entry(group: GroupTuning) -> Entry:
    """'81.65 ± 0.40 (2)', over trial seeds; of values that were taken over the mean alone."""
    facts, point = group.facts, group.chosen
    if point is None or point.score is None:
        score = group.choice.score if group.choice else None
        return Entry(DASH) if score is None else Entry(metric_text(facts, score), facts.shown(score))
    scores = [score for trial in point.trials if (score := trial.score(group.by)) is not None]
    spread = stdev(scores) if len(scores) > 1 else None
    text = metric_text(facts, point.score) + ("" if spread is None else f" ± {metric_text(facts, spread)}")
    return Entry(
        f"{text} ({len(scores)})",
        facts.shown(point.score),
        None if spread is None else facts.shown(spread),
        n=len(scores),
    )


def _rows_entry(group: GroupTuning) -> Entry:
    return Entry(f"{group.held_out_rows:,}", group.held_out_rows) if group.held_out_rows else Entry(DASH)


def _trials_entry(group: GroupTuning) -> Entry:
    """'5 of 6, 1 diverged'; of values that were taken over, how many trials they were chosen from."""
    if not group.points:
        number = len(group.choice.trials) if group.choice else 0
        return Entry(f"of {number:,}", n=number)
    remarks = [f"{n} {FAILURE_WORDS[status]}" for status, n in sorted(group.statuses.items()) if status != "ok"]
    undefined = sum(trial.status == "ok" for trial in group.trials) - group.scored
    missing = group.planned - len(group.trials)
    remarks += [f"{undefined} undefined"] if undefined else []
    remarks += [f"{missing} missing"] if missing else []
    return Entry(f"{group.scored} of {group.planned}", group.scored, n=group.planned, remark=", ".join(remarks))


def _total_text(costs: dict[tuple[str, str, str], TuningCost]) -> str:
    trials = sum(cost.all_trial_hours for cost in costs.values())
    cells = sum(cost.cell_hours for cost in costs.values())
    if not trials + cells:
        return ""
    return f"All trials: {two_digits(trials)} h, {100 * trials / (trials + cells):.0f}% of the study's recorded cost."
