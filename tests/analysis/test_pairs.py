"""Two cells are compared on the same rows or not at all, and a mean over survivors wins nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers.results import Rows, StudyInMemory

from bench.analysis.stats.comparison import Comparer, Comparison, Contrast
from bench.analysis.stats.limits import Limit, Missing
from bench.analysis.tables.comparisons import comparison_table
from bench.analysis.tables.model import Table
from bench.analysis.tables.scores import Metrics, Shown, pair_table, score_table
from bench.config.cell import Cell
from bench.config.resolve import load_study

METHODS = ("lora", "adalora", "dora")
BACKBONES = "{classification: minilm, summarization: tiny-bart}"


def study_of(task: str, seeds: int, methods: int = 3) -> StudyInMemory:
    overrides = [f"tasks=[{task}]", f"methods=[{', '.join(METHODS[:methods])}]", f"seeds={list(range(seeds))}"]
    return StudyInMemory(load_study("glue", [*overrides, f"backbones={BACKBONES}", "grids=[{budgets: [small]}]"]))


def comparer_of(study: StudyInMemory, rows_of: Callable[[Cell, np.random.Generator], Rows | None]) -> Comparer:
    return study.comparer_of(
        {c.id: rows_of(c, np.random.default_rng([c.seed, len(c.method.name)])) for c in study.study.cells}
    )


def answers(cell: Cell, generator: np.random.Generator, rows: int = 300, worse: float = 0.3) -> Rows:
    """90% of answers are right, those of AdaLoRA less by `worse`."""
    truth = np.arange(rows) % 2
    right = generator.random(rows) < 0.9 - worse * (cell.method.name == "adalora")
    return {"row": np.arange(rows), "reference": truth, "prediction": np.where(right, truth, 1 - truth)}


def compare(comparer: Comparer, first: str, second: str, metric: str = "accuracy") -> Comparison:
    (task,) = comparer.results.tasks.values()
    comparison = comparer.compare(Contrast(task.name, task.primary_split, metric, "small", first, second))
    assert comparison is not None
    return comparison


def scores(comparer: Comparer, metrics: Metrics = "reported") -> Table:
    table = score_table(comparer, Shown("t", "t", list(comparer.results.labels), metrics))
    assert table is not None
    return table


def differences(comparer: Comparer, metrics: Metrics = "reported") -> Table:
    table = pair_table(comparer, Shown("t", "t", ["lora", "adalora"], metrics))
    assert table is not None
    return table


def bold(table: Table) -> list[str]:
    """The texts of the bold entries."""
    return [entry.text for row in table.rows for entry in row if entry.bold]


def test_a_clear_difference_of_five_points_is_bold_at_five_seeds() -> None:
    comparer = comparer_of(study_of("sst2", 5, methods=2), lambda c, g: answers(c, g, rows=1000, worse=0.05))
    assert [text[:2] for text in bold(scores(comparer))] == ["89"]
    assert len(bold(comparison_table(comparer))) == 1


def test_an_odd_cell_takes_the_examples_from_its_own_pairs_alone() -> None:
    """The first cell of the study was scored on 50 of the rows."""
    study = study_of("sst2", 3)

    def rows_of(cell: Cell, generator: np.random.Generator) -> Rows:
        columns = answers(cell, generator)
        odd = cell.id == study.study.cells[0].id
        return {name: values[:50] for name, values in columns.items()} if odd else columns

    comparer = comparer_of(study, rows_of)
    odd, even = compare(comparer, "lora", "adalora"), compare(comparer, "adalora", "dora")
    assert (odd.interval, odd.examples, odd.missing) == (None, None, Missing.SAME_ROWS)
    assert odd.mcnemar_p == ()
    assert even.examples == 300
    assert even.clear
    table = comparison_table(comparer)
    assert len(bold(table)) == 1
    assert any("scored on different rows: SST-2 accuracy on validation, small" in note for note in table.footnotes)
    table = scores(comparer)
    assert bold(table) == []
    assert any(note.startswith("Nothing bold, the methods were scored on different rows") for note in table.footnotes)


@pytest.mark.parametrize("column", ["row", "reference"])
def test_other_rows_or_other_references_are_no_pair(column: str) -> None:
    def rows_of(cell: Cell, generator: np.random.Generator) -> Rows:
        columns = answers(cell, generator)
        other = {"row": columns["row"] + 300, "reference": columns["reference"][::-1]}[column]
        return {**columns, column: other} if cell.method.name == "dora" else columns

    comparer = comparer_of(study_of("sst2", 3), rows_of)
    assert compare(comparer, "lora", "dora").missing is Missing.SAME_ROWS
    assert compare(comparer, "lora", "adalora").clear


def test_the_order_of_the_rows_does_not_matter() -> None:
    def shuffled(cell: Cell, generator: np.random.Generator) -> Rows:
        columns = answers(cell, generator)
        order = generator.permutation(300)
        return {name: values[order] for name, values in columns.items()}

    study = study_of("cola", 3)
    for metric in ("mcc", "accuracy"):
        plain, mixed = (compare(comparer_of(study, rows), "lora", "adalora", metric) for rows in (answers, shuffled))
        assert plain.interval is not None
        assert plain.interval == mixed.interval


def summaries(cell: Cell, generator: np.random.Generator, columns: tuple[str, ...]) -> Rows:
    quality = 0.5 - 0.2 * (cell.method.name == "adalora")
    texts = {"row": np.arange(80), "reference": np.arange(80), "prediction": np.arange(80)}
    return texts | {name: quality + 0.1 * generator.random(80) for name in columns}


def test_each_metric_is_compared_by_its_own_row_scores() -> None:
    names = ("score_rouge1", "score_rouge2", "score_rougeL", "score_rougeLsum")
    comparer = comparer_of(study_of("cnn_dailymail", 3, methods=2), lambda c, g: summaries(c, g, names))
    comparisons = [compare(comparer, "lora", "adalora", name.removeprefix("score_")) for name in names]
    assert [c.examples for c in comparisons] == [80] * 4
    assert len({c.difference for c in comparisons}) == 4
    assert (len(bold(scores(comparer))), len(bold(scores(comparer, "other")))) == (1, 3)


def test_without_row_scores_a_metric_has_neither_interval_nor_bold() -> None:
    """As in files of earlier versions, which hold the scores of the task's own metric alone."""
    comparer = comparer_of(study_of("cnn_dailymail", 3, methods=2), lambda c, g: summaries(c, g, ("score",)))
    assert compare(comparer, "lora", "adalora", "rouge1").clear
    rouge2 = compare(comparer, "lora", "adalora", "rouge2")
    assert (rouge2.interval, rouge2.missing, rouge2.clear) == (None, Missing.ROW_SCORES, False)
    table, other = differences(comparer), differences(comparer, "other")
    assert (len(bold(table)), len(bold(other))) == (1, 0)
    assert [row[-1].low is None for row in (table.rows[0], *other.rows)] == [False, True, True, True]
    assert any("no score per row is saved" in note and "ROUGE-2 on" in note for note in other.footnotes)
    none = scores(comparer_of(study_of("cnn_dailymail", 3, methods=2), lambda c, g: summaries(c, g, ())))
    assert bold(none) == []
    assert not any("seeds × examples" in note for note in none.footnotes)


@pytest.mark.parametrize("lost", ["lora", "adalora"])
@pytest.mark.parametrize("failed", [True, False])
def test_nothing_is_bold_while_a_seed_is_missing_or_failed(lost: str, failed: bool) -> None:
    study = study_of("sst2", 5)
    rows = {c.id: answers(c, np.random.default_rng([c.seed, len(c.method.name)])) for c in study.study.cells}
    complete = study.comparer_of(rows)
    assert len(bold(comparison_table(complete))) == 2
    cells = [study.study.find("sst2", lost, "small", seed).id for seed in (0, 1)]
    survivors = {cell_id: columns for cell_id, columns in rows.items() if cell_id not in cells}
    comparer = study.comparer_of(survivors | (dict.fromkeys(cells) if failed else {}))
    table = scores(comparer)
    assert bold(table) == []
    assert any(
        note.startswith("Nothing bold, a seed is missing, failed or without a score") for note in table.footnotes
    )
    entry = table.rows[METHODS.index(lost)][4]
    assert entry.shown.endswith(f"(3), 2 of 5 {'diverged' if failed else 'missing'}")
    label = comparer.results.labels[lost]
    assert (f"Failed: {label} 2 of 5 runs (40%)." in table.footnotes) == failed
    pairs = comparison_table(comparer)
    assert len(bold(pairs)) == (1 if lost == "lora" else 0)  # AdaLoRA and DoRA have all of their seeds
    assert any(note.startswith("Never bold, a seed of one method is missing") for note in pairs.footnotes)


@pytest.mark.parametrize("metric", ["accuracy", "mcc"])
@pytest.mark.parametrize("rows", [1, 2, 40])
def test_no_interval_is_a_point_where_nothing_varies(metric: str, rows: int) -> None:
    """AdaLoRA is wrong on every example with every seed, and the others are right."""

    def rows_of(cell: Cell, _: np.random.Generator) -> Rows:
        truth = np.arange(rows) % 2
        wrong = cell.method.name == "adalora"
        return {"row": np.arange(rows), "reference": truth, "prediction": 1 - truth if wrong else truth}

    comparer = comparer_of(study_of("cola", 3), rows_of)
    for first, second in (("lora", "adalora"), ("lora", "dora")):
        comparison = compare(comparer, first, second, metric)
        interval = comparison.interval
        assert (interval is None) == (metric == "mcc")
        assert comparison.missing is (Missing.DISCORDANT if interval is None else None)
        if interval:
            assert interval.high > interval.low
            assert interval.p > 0
            assert Limit.DISCORDANT in comparison.limits or rows == 40
    assert bold(scores(comparer)) == []
    for table in (differences(comparer), comparison_table(comparer)):
        texts = [entry.text for row in table.rows for entry in row]
        assert not any("[+0.00, +0.00]" in text or "[−100.00, −100.00]" in text for text in texts)


def test_a_tiny_interval_shows_decimals_until_its_bounds_differ() -> None:
    def rows_of(cell: Cell, generator: np.random.Generator) -> Rows:
        return summaries(cell, generator, ()) | {
            f"score_{metric}": 0.3 + 1e-6 * generator.random(80) for metric in cell.task.metrics
        }

    comparer = comparer_of(study_of("cnn_dailymail", 3, methods=2), rows_of)
    rows = [*differences(comparer).rows[:1], *differences(comparer, "other").rows]
    assert len(rows) == 4
    for row in rows:
        low, high = row[-1].text.partition("[")[2].partition("]")[0].split(", ")
        assert low != high


def test_runs_that_collapse_call_for_the_exact_test() -> None:
    """All runs of DoRA collapse; one of LoRA does at another budget, so that this is known to happen."""
    overrides = ["tasks=[sst2]", "methods=[lora, dora]", "seeds=[0, 1, 2]", f"backbones={BACKBONES}"]
    study = StudyInMemory(load_study("glue", overrides))

    def rows_of(cell: Cell, generator: np.random.Generator, known: bool) -> Rows:
        columns = answers(cell, generator)
        collapsed = cell.budget_name == "small" if cell.method.name == "dora" else known and cell.seed == 0
        if cell.method.name == "lora" and cell.budget_name == "small":
            collapsed = False
        return {**columns, "prediction": np.zeros(300, dtype=int)} if collapsed else columns

    unknown, known = (comparer_of(study, lambda c, g, k=known: rows_of(c, g, k)) for known in (False, True))
    assert [len(bold(scores(comparer))) for comparer in (unknown, known)] == [1, 0]
    assert any("exact sign flips" in note and "LoRA" in note for note in scores(known).footnotes)
    large = known.compare(Contrast("sst2", "validation", "accuracy", "large", "lora", "dora"))
    assert large is not None
    assert large.limits == (Limit.GROUPS,)
