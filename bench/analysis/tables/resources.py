"""Tables of parameters, memory and cost. One counting rule for every method: the adapter is A, B and E, heads apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from bench.analysis.footnotes import footnotes
from bench.analysis.results import Results
from bench.analysis.tables.model import DASH, Column, Entry, Table, count, number, words
from bench.analysis.wording import MIB, WORDS
from bench.records.schema import Bytes, Parameters, Record, Training

HEADS = (Column("task", head=True), Column("method", head=True), Column("budget", head=True))


@dataclass(frozen=True)
class Fact:
    """A column: what it reads from a record that ended well, and how it is written."""

    name: str
    group: str
    read: Callable[[Record], float | None]
    write: Callable[[float | None], Entry] = number


MEMORY = (
    Fact("start", "adapter [parameters]", lambda r: _parameters(r).adapter_start, count),
    Fact("end", "adapter [parameters]", lambda r: _parameters(r).adapter_end, count),
    Fact("heads", "[parameters]", lambda r: _parameters(r).head, count),
    Fact("base", "stored [MiB]", lambda r: _base(r) / MIB),
    Fact("adapter file", "stored [MiB]", lambda r: _mib(_bytes(r).adapter_file)),
    Fact("gradients", "training, at the most [MiB]", lambda r: _mib(_bytes(r).gradients)),
    Fact("optimizer", "training, at the most [MiB]", lambda r: _mib(_bytes(r).optimizer)),
    Fact("importance", "training, at the most [MiB]", lambda r: _mib(_bytes(r).importance)),
    Fact("predicted", "training takes [MiB]", lambda r: _mib(_bytes(r).peak.predicted)),
    Fact("measured", "training takes [MiB]", lambda r: _mib(_taken(r))),
    Fact("peak", "process [MiB]", lambda r: _bytes(r).peak.peak / MIB),
)
COST = (
    Fact("steps", "", lambda r: _training(r).steps, count),
    Fact("tokens", "", lambda r: _training(r).tokens, count),
    Fact("training [s/step]", "", lambda r: seconds_per_step(r), lambda value: number(value, 3)),
    Fact("utilization [%]", "", lambda r: _share(r)),
    Fact("start-up [s]", "", lambda r: _training(r).seconds.startup),
    Fact("evaluation [s]", "", lambda r: _training(r).seconds.evaluation),
    Fact("total [s]", "", lambda r: _training(r).seconds.total),
    Fact("skipped steps", "", lambda r: _training(r).skipped_steps, count),
)


def memory_table(results: Results) -> Table:
    """Counts and bytes, and the proof that the budget was kept."""
    notes = (
        "Adapter: A, B and E alone, the same rule for every method; heads are trained and stored apart, and are in the "
        "adapter file. Base: as stored, quantization constants included.",
        _peaks(results),
    )
    return _table(results, "memory", "Parameters and memory, mean over seeds", MEMORY, notes, kept=True)


def cost_table(results: Results) -> Table:
    notes = (
        "Wall time by the monotonic clock; training without evaluation; start-up until the first step. Utilization: "
        "floating-point operations of training by its shapes, over the rate of the device's own matrix product.",
    )
    return _table(results, "cost", "Cost, mean over seeds", COST, notes, kept=False)


def _share(record: Record) -> float | None:
    use = _training(record).utilization
    return None if use is None else 100 * use.fraction


def seconds_per_step(record: Record) -> float:
    training = _training(record)
    return training.seconds.training / max(1, training.steps)


def _table(
    results: Results, name: str, title: str, facts: Sequence[Fact], notes: Sequence[str], *, kept: bool
) -> Table:
    """A row for each task, method and budget: the mean of each fact over the seeds that ended well."""
    rows = []
    keys = dict.fromkeys((c.task.name, c.method.name, c.budget_name) for c in results.cells)
    for task, method, budget in keys:
        good = results.good(task, method, budget)
        entries = [_mean(fact, good) for fact in facts]
        proof = [_kept(good)] if kept else []
        heads = (words(task), words(results.labels[method]), words(budget))
        rows.append((*heads, *entries, *proof, _n(results, task, method, budget)))
    columns = [*HEADS, *(Column(fact.name, fact.group) for fact in facts)]
    columns += [Column("kept of budget")] if kept else []
    columns.append(Column("n"))
    return Table(name, title, tuple(columns), tuple(rows), (*notes, *footnotes(results)))


def _mean(fact: Fact, records: Sequence[Record]) -> Entry:
    known = [value for value in map(fact.read, records) if value is not None]
    return fact.write(mean(known)) if known else Entry(DASH)


def _n(results: Results, task: str, method: str, budget: str) -> Entry:
    """Seeds that ended well; what became of the others in words."""
    records = results.of(task, method, budget)
    good = sum(record.status == "ok" for record in records)
    found = [WORDS[record.status] for record in records if record.status != "ok"]
    remarks = [f"{found.count(word)} {word}" for word in dict.fromkeys(found)]
    missing = results.wanted(task, method, budget) - len(records)
    remarks += [f"{missing} missing"] if missing else []
    return Entry(str(good), remark=", ".join(remarks), n=good)


def _kept(records: Sequence[Record]) -> Entry:
    uses = sorted({(u.used, u.limit, u.unit) for r in records if r.parameters for u in [r.parameters.budget]})
    if not uses:
        return Entry(DASH)
    low, high, (_, limit, unit) = uses[0][0], uses[-1][0], uses[0]
    return words(f"{low:,}{'' if low == high else f' to {high:,}'} of {limit:,} {unit}")


def _peaks(results: Results) -> str:
    kinds = sorted({r.bytes.peak.device for r in results.records.values() if r.bytes})
    peak = {"cpu": "resident memory of the whole process"}
    taken = {"cpu": "what resident memory grows by over the loaded model in the largest batch"}
    text = "; ".join(f"{kind}: {peak.get(kind, 'memory allocated on the device')}" for kind in kinds)
    also = "; ".join(f"{kind}: {taken.get(kind, 'memory allocated on the device, the base in it')}" for kind in kinds)
    return f"Peak, {text or 'not recorded'}. Training takes, {also or 'not recorded'}; predicted from shapes alone."


def _mib(amount: int | None) -> float | None:
    return None if amount is None else amount / MIB


def _taken(record: Record) -> int | None:
    peak = _bytes(record).peak
    return peak.growth if peak.device == "cpu" else peak.peak


def _base(record: Record) -> int:
    base = _bytes(record).base
    assert base is not None  # as for every record that ended well
    return base.total


def _parameters(record: Record) -> Parameters:
    assert record.parameters is not None  # a record that ended well has all its parts
    return record.parameters


def _bytes(record: Record) -> Bytes:
    assert record.bytes is not None
    return record.bytes


def _training(record: Record) -> Training:
    assert record.training is not None
    return record.training
