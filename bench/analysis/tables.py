"""The study's tables: LoRA against AdaLoRA, all methods, parameters and memory, cost.

Every number is a mean over seeds with its spread and n; what failed or is missing says so. Nothing is bold: a mean is
called better only where a paired interval says so, which these tables don't compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean, stdev

from bench.analysis.footnotes import footnotes
from bench.analysis.frame import Results, values
from bench.analysis.table import Table
from bench.records.schema import Bytes, Parameters, Record, Training
from bench.spec.task import Task

DASH = "—"
WORDS = {"oom": "OOM", "diverged": "diverged", "failed": "failed"}
METRIC_NAMES = {
    "accuracy": "accuracy", "mcc": "MCC", "f1": "F1", "pearson": "Pearson r", "spearman": "Spearman ρ",
    "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum",
    "exact_match": "exact match", "no_label": "no label",
}  # fmt: skip
MIB = 1024**2
KEYS = ("task", "metric", "split")
Number = Callable[[Record], float | None]
Text = Callable[[Sequence[Record]], str]


def tables(results: Results) -> list[Table]:
    """Every table that the study's methods fill."""
    notes = footnotes(results)
    methods = list(dict.fromkeys(cell.method.name for cell in results.study.cells))
    made = [_scores(results, "methods", "All methods", methods, notes)]
    pair = [name for name in ("lora", "adalora") if name in methods]
    if len(pair) == 2:
        made.append(_scores(results, "lora_adalora", "LoRA against AdaLoRA", pair, notes))
    return [*made, _memory(results, notes), _cost(results, notes)]


def summary(numbers: Sequence[float], digits: int = 2) -> str:
    """'mean ± sd (n)'; one value has no spread; none is a dash."""
    if not numbers:
        return f"{DASH} (0)"
    spread = f" ± {stdev(numbers):.{digits}f}" if len(numbers) > 1 else ""
    return f"{mean(numbers):.{digits}f}{spread} ({len(numbers)})"


def _scores(results: Results, name: str, title: str, methods: Sequence[str], notes: tuple[str, ...]) -> Table:
    budgets = list(dict.fromkeys(cell.budget_name for cell in results.study.cells))
    labels = {cell.method.name: cell.method.label for cell in results.study.cells}
    columns = [(method, budget) for budget in budgets for method in methods]
    rows = []
    for task in _tasks(results):
        for split in task.data.evaluation:
            for metric in task.metrics:
                cells = [_score(results, task.name, m, b, split, metric) for m, b in columns]
                rows.append((task.name, METRIC_NAMES[metric], split, *cells))
    return Table(
        name=name,
        title=f"{title}: points (fraction × 100), mean ± sd over seeds (n)",
        columns=(*KEYS, *(f"{labels[m]}, {b}" for m, b in columns)),
        rows=tuple(rows),
        footnotes=notes,
        heads=len(KEYS),
    )


def _score(results: Results, task: str, method: str, budget: str, split: str, metric: str) -> str:
    records = results.of(task, method, budget)
    text = summary([100 * value for value in values(records, split, metric)])
    undefined = [
        r for r in records if r.status == "ok" and r.metrics.get(split, {}).get("last", {}).get(metric) is None
    ]
    words = [WORDS[r.status] for r in records if r.status != "ok"] + ["undefined"] * len(undefined)
    missing = results.wanted(task, method, budget) - len(records)
    if missing and records:
        words.append(f"{missing} missing")
    if words and text.startswith(DASH):
        return ", ".join(dict.fromkeys(words))
    return f"{text}, {', '.join(_counted(words))}" if words else text


def _memory(results: Results, notes: tuple[str, ...]) -> Table:
    """One counting rule for every method: the adapter is A, B and E alone; heads stand apart."""
    fields: list[tuple[str, Number]] = [
        ("adapter at start [parameters]", lambda r: _parameters(r).adapter_start),
        ("adapter at end [parameters]", lambda r: _parameters(r).adapter_end),
        ("heads [parameters]", lambda r: _parameters(r).head),
        ("base as stored [MiB]", lambda r: _base(r) / MIB),
        ("adapter file with heads [MiB]", lambda r: _mib(_bytes(r).adapter_file)),
        ("gradients at end [MiB]", lambda r: _mib(_bytes(r).gradients)),
        ("optimizer at end [MiB]", lambda r: _mib(_bytes(r).optimizer)),
        ("importance at end [MiB]", lambda r: _mib(_bytes(r).importance)),
        ("peak [MiB]", lambda r: _bytes(r).peak.peak / MIB),
    ]
    return _facts(results, "memory", "Parameters and memory, mean over seeds", fields, notes, ("kept of budget", _kept))


def _cost(results: Results, notes: tuple[str, ...]) -> Table:
    fields: list[tuple[str, Number]] = [
        ("steps", lambda r: _training(r).steps),
        ("training [s/step]", lambda r: _training(r).seconds.training / max(1, _training(r).steps)),
        ("start-up [s]", lambda r: _training(r).seconds.startup),
        ("evaluation [s]", lambda r: _training(r).seconds.evaluation),
        ("total [s]", lambda r: _training(r).seconds.total),
    ]
    return _facts(results, "cost", "Cost, mean over seeds", fields, notes, ("skipped steps", _skipped))


def _facts(
    results: Results,
    name: str,
    title: str,
    fields: Sequence[tuple[str, Number]],
    notes: tuple[str, ...],
    last: tuple[str, Text],
) -> Table:
    """A row for each task, method and budget: the mean of each field over the seeds that ended well."""
    rows = []
    keys = dict.fromkeys((c.task.name, c.method.name, c.method.label, c.budget_name) for c in results.study.cells)
    for task, method, label, budget in keys:
        good = [r for r in results.of(task, method, budget) if r.status == "ok"]
        cells = [_mean(column, [get(r) for r in good]) for column, get in fields]
        rows.append((task, label, budget, *cells, last[1](good), str(len(good))))
    columns = ("task", "method", "budget", *(column for column, _ in fields), last[0], "n")
    return Table(name, title, columns, tuple(rows), notes, heads=3)


def _mean(column: str, numbers: Sequence[float | None]) -> str:
    known = [number for number in numbers if number is not None]
    if not known:
        return DASH
    average = mean(known)
    if "parameters" in column or column == "steps":
        return f"{average:,.0f}" if average == int(average) else f"{average:,.1f}"
    return f"{average:.3f}" if "s/step" in column else f"{average:.2f}"


def _kept(records: Sequence[Record]) -> str:
    uses = sorted({(u.kept, u.limit, u.unit) for r in records if r.parameters for u in [r.parameters.budget]})
    return "; ".join(f"{kept:,} of {limit:,} {unit}" for kept, limit, unit in uses) or DASH


def _skipped(records: Sequence[Record]) -> str:
    return str(sum(_training(r).skipped_steps for r in records)) if records else DASH


def _mib(count: int | None) -> float | None:
    return None if count is None else count / MIB


def _base(record: Record) -> int:
    base = _bytes(record).base
    return base.weights + base.quantisation + base.buffers


def _parameters(record: Record) -> Parameters:
    assert record.parameters is not None  # a record that ended well has all its parts
    return record.parameters


def _bytes(record: Record) -> Bytes:
    assert record.bytes is not None
    return record.bytes


def _training(record: Record) -> Training:
    assert record.training is not None
    return record.training


def _tasks(results: Results) -> list[Task]:
    return list({cell.task.name: cell.task for cell in results.study.cells}.values())


def _counted(words: Sequence[str]) -> list[str]:
    return [f"{words.count(w)} {w}" if w in (*WORDS.values(), "undefined") else w for w in dict.fromkeys(words)]
