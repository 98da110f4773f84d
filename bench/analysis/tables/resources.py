"""Tables of parameters, memory and cost.

One counting rule holds for every method: the adapter is A, B and E (LoRA's factors and AdaLoRA's singular values), and
heads are counted apart. Every number is the mean ± sd over the seeds that ended well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.analysis.energy import NOT_MEASURED, energy_notes, watt_hours
from bench.analysis.footnotes import footnotes
from bench.analysis.results import Results
from bench.analysis.tables.model import Column, Entry, Table, spread_entry, text_entry
from bench.analysis.tables.parameters import SPREAD
from bench.analysis.tables.tuning import share_entry
from bench.analysis.tuning_cost import tuning_cost
from bench.analysis.wording import DASH, FAILURE_WORDS, MIB, count_text, mib_text, number_text, three_digits
from bench.records.schema import Bytes, Parameters, Record, Training

SPREAD_NOTE = "No ±: all seeds agree, or n = 1. In parentheses: how many seeds have the number, where fewer than n."
HEADS = (Column("task", head=True), Column("method", head=True), Column("budget", head=True))


@dataclass(frozen=True)
class Quantity:
    """A column: how its number is read from a record with status ok, and how it is written."""

    name: str
    group: str
    read: Callable[[Record], float | None]
    write: Callable[[float], str] = number_text
    unit: str = ""
    absent: str = DASH  # where no record has it


def parameter_table(results: Results) -> Table:
    """Exact parameters of each task, method and budget, and the proof that the budget was kept."""
    notes = ("Adapter: A, B and E alone, the same rule for every method; heads are trained in full and counted apart.",)
    title = "Parameters, mean ± sd over n seeds"
    return _table(results, "parameters", title, PARAMETERS, notes, with_budget=True)


def memory_table(results: Results) -> Table:
    """Bytes of each task, method and budget: what is stored, what training holds, and the peak."""
    notes = (
        "MiB. Base: as stored, quantization constants included. File: the adapter's, with heads. Gradients, optimizer "
        "and importance: the most that is held in training.",
        _peak_note(results),
    )
    return _table(results, "memory", "Memory in MiB, mean ± sd over n seeds", MEMORY, notes, with_budget=False)


def cost_table(results: Results) -> Table:
    """Steps, tokens, wall time and energy of each task, method and budget; where a study tunes, the trials' share."""
    notes = [
        "Wall time by the monotonic clock; training without evaluation; start-up until the first step. Utilization: "
        "floating-point operations of training by its shapes, over the rate of the device's own matrix product.",
    ]
    notes += energy_notes([r.training.energy for r in results.records.values() if r.training])
    notes += shared_note(results)
    if results.tuning.tuning is not None:
        notes.append("Trials: their share of the row's hours, which the other columns do not count (table tuning).")
    return _table(results, "cost", "Cost, mean ± sd over n seeds", COST, notes, with_budget=False)


def _table(
    results: Results, name: str, title: str, quantities: Sequence[Quantity], notes: Sequence[str], *, with_budget: bool
) -> Table:
    """One row per task, method and budget.

    `with_budget` adds a column with what was kept of the budget; the table of cost has one of the trials' share in a
    study that tunes.
    """
    with_trials = results.tuning.tuning is not None and name == "cost"
    columns = [
        *HEADS,
        *(Column(quantity.name, quantity.group, parts=SPREAD, unit=quantity.unit) for quantity in quantities),
    ]
    if with_budget:
        columns.append(Column("budget used"))
    if with_trials:
        columns.append(Column("trials [%]"))
    columns.append(Column("n"))
    rows = []
    for task, method, budget in results.groups:
        records = results.successful(task, method, budget)
        row = [text_entry(results.task_labels[task]), text_entry(results.labels[method]), text_entry(budget)]
        row += [_mean_entry(quantity, records) for quantity in quantities]
        if with_budget:
            row.append(_budget_entry(records))
        if with_trials:
            row.append(share_entry(tuning_cost(results, (task, method, budget))))
        rows.append((*row, runs_entry(results, task, method, budget)))
    return Table(name, title, tuple(columns), tuple(rows), (SPREAD_NOTE, *notes, *footnotes(results)))


def _mean_entry(quantity: Quantity, records: Sequence[Record]) -> Entry:
    # A record may lack a quantity, such as the utilization; the mean is over the records that have it.
    known = [value for value in map(quantity.read, records) if value is not None]
    return spread_entry(known, quantity.write, n=len(records)) if known or not records else Entry(quantity.absent, n=0)


def runs_entry(results: Results, task: str, method: str, budget: str) -> Entry:
    """How many seeds ended well, and in words how many failed or are missing."""
    records = results.records_of(task, method, budget)
    n = len(results.successful(task, method, budget))
    failures = [FAILURE_WORDS[record.status] for record in records if record.status != "ok"]
    remarks = [f"{failures.count(word)} {word}" for word in dict.fromkeys(failures)]
    missing = results.seeds_planned(task, method, budget) - len(records)
    if missing:
        remarks.append(f"{missing} missing")
    return Entry(str(n), remark=", ".join(remarks), n=n)


def _budget_entry(records: Sequence[Record]) -> Entry:
    """'144 of 144 ranks', or '140 to 144 of 144 ranks' if seeds differ."""
    uses = [record.parameters.budget for record in records if record.parameters]
    if not uses:
        return Entry(DASH)
    # Seeds may end with slightly different ranks; the limit is the same for all.
    low, high = min(use.used for use in uses), max(use.used for use in uses)
    kept = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return text_entry(f"{kept} of {uses[0].limit:,} {uses[0].unit}")


def _peak_note(results: Results) -> str:
    """What the peak means on the kinds of device that are in the table."""
    devices = sorted({record.bytes.peak.device for record in results.records.values() if record.bytes})
    peak_of = {"cpu": "resident memory of the whole process"}
    training_of = {"cpu": "what resident memory grows by over the loaded model in the largest batch"}
    peak = "; ".join(f"{device}: {peak_of.get(device, 'memory allocated on the device')}" for device in devices)
    training = "; ".join(
        f"{device}: {training_of.get(device, 'memory allocated on the device, the base in it')}" for device in devices
    )
    peak, training = peak or "not recorded", training or "not recorded"
    return f"Peak, {peak}. Training memory, {training}; the prediction knows shapes alone."


def shared_note(results: Results) -> list[str]:
    """Which of the times are those of a shared GPU."""
    trainings = [record.training for record in results.records.values() if record.training]
    most = max((training.cells_per_gpu for training in trainings), default=1)
    shared = sum(training.cells_per_gpu > 1 for training in trainings)
    if not shared:
        return []
    return [
        f"Shared GPU: {shared} of {len(results.records)} records were made with up to {most} cells at a time on one "
        "GPU; their seconds and utilization are not those of a cell that has it alone."
    ]


def _mib(amount: int | None) -> float | None:
    return None if amount is None else amount / MIB


def _base_mib(record: Record) -> float:
    base = _bytes(record).base
    assert base is not None  # a record with status ok has all its parts
    return base.total / MIB


def _measured_mib(record: Record) -> float | None:
    """What the prediction predicts: on the CPU the growth over the loaded model, on a GPU all allocated memory."""
    peak = _bytes(record).peak
    return _mib(peak.growth if peak.device == "cpu" else peak.peak)


def _seconds_per_step(record: Record) -> float:
    training = _training(record)
    return training.seconds.training / max(1, training.steps)


def _utilization_percent(record: Record) -> float | None:
    utilization = _training(record).utilization
    return None if utilization is None else 100 * utilization.fraction


def _parameters(record: Record) -> Parameters:
    assert record.parameters is not None
    return record.parameters


def _bytes(record: Record) -> Bytes:
    assert record.bytes is not None
    return record.bytes


def _training(record: Record) -> Training:
    assert record.training is not None
    return record.training


PARAMETERS = (
    Quantity("start", "adapter", lambda r: _parameters(r).adapter_start, count_text),
    Quantity("end", "adapter", lambda r: _parameters(r).adapter_end, count_text),
    Quantity("heads", "", lambda r: _parameters(r).head, count_text),
)
MEMORY = (
    Quantity("base", "stored", _base_mib, mib_text, "MiB"),
    Quantity("file", "stored", lambda r: _mib(_bytes(r).adapter_file), mib_text, "MiB"),
    Quantity("gradient", "training, most", lambda r: _mib(_bytes(r).gradients), mib_text, "MiB"),
    Quantity("optimizer", "training, most", lambda r: _mib(_bytes(r).optimizer), mib_text, "MiB"),
    Quantity("importance", "training, most", lambda r: _mib(_bytes(r).importance), mib_text, "MiB"),
    Quantity("predicted", "training, total", lambda r: _mib(_bytes(r).peak.predicted), mib_text, "MiB"),
    Quantity("measured", "training, total", _measured_mib, mib_text, "MiB"),
    Quantity("peak", "process", lambda r: _mib(_bytes(r).peak.peak), mib_text, "MiB"),
)
COST = (
    Quantity("steps", "", lambda r: _training(r).steps, count_text),
    Quantity("tokens", "", lambda r: _training(r).tokens, count_text),
    Quantity("training [s/step]", "", _seconds_per_step, lambda value: number_text(value, 3)),
    Quantity("utilization [%]", "", _utilization_percent),
    Quantity("start-up [s]", "", lambda r: _training(r).seconds.startup),
    Quantity("evaluation [s]", "", lambda r: _training(r).seconds.evaluation),
    Quantity("total [s]", "", lambda r: _training(r).seconds.total),
    Quantity("energy [Wh]", "", watt_hours, three_digits, absent=NOT_MEASURED),
    Quantity("skipped steps", "", lambda r: _training(r).skipped_steps, count_text),
)
