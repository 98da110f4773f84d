"""The tables and the figure of rank patterns, made from records."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import html5lib
import numpy as np
import pytest
from helpers.records import study_of, write_cell, write_study
from helpers.results import StudyInMemory
from scipy.stats import spearmanr

from bench.analysis.build import make_figures, make_page, make_tables
from bench.analysis.figures.patterns import LAYER, NAME, ROLE, means_by_place, pattern_figures
from bench.analysis.patterns import PatternReader
from bench.analysis.results import Results, read_results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.comparisons import comparison_table
from bench.analysis.tables.model import Table
from bench.analysis.tables.pattern_agreement import pattern_agreement_table
from bench.analysis.tables.pattern_worth import pattern_worth_pairs, pattern_worth_table
from bench.analysis.tables.render import as_csv
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.records.io import write_record
from bench.records.schema import Record

SEEDS = 3


def ranked(record: Record, ranks: list[int]) -> Record:
    """The record with these final ranks, in the order of the sites."""
    sites = dict(zip(record.ranks, ranks, strict=True))
    return record.model_copy(
        update={"ranks": {n: site.model_copy(update={"end": sites[n]}) for n, site in record.ranks.items()}}
    )


def ranks_of(cell: Cell) -> list[int]:
    """Of 36 matrices: what a seed finds again, and some luck."""
    common = np.random.default_rng(0).integers(0, 5, 36)
    return list(map(int, common + np.random.default_rng(cell.seed + 1).integers(0, 3, 36)))


@pytest.fixture(scope="module")
def study() -> ResolvedStudy:
    return study_of(SEEDS, "tasks=[cola, sst2]", "methods=[lora, adalora]", "grids=[{budgets: [small]}]")


@pytest.fixture(scope="module")
def folder(study: ResolvedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its cells, of which AdaLoRA's have the ranks of `ranks_of`; those of SST-2 with seed 2 are all equal."""
    folder = tmp_path_factory.mktemp("results")
    for cell in study.cells:
        record = write_cell(folder / study.name, cell, 0.8)
        if cell.method.name == "adalora":
            odd = cell.task.name == "sst2" and cell.seed == 2
            write_record(ranked(record, [2] * 36 if odd else ranks_of(cell)), folder / study.name / "cells" / cell.id)
    return folder


@pytest.fixture(scope="module")
def results(study: ResolvedStudy, folder: Path) -> Results:
    return read_results(study, folder)


def rows_of(table: Table | None) -> list[dict[str, str]]:
    assert table is not None
    return list(csv.DictReader(io.StringIO(as_csv(table))))


def test_the_agreement_over_seeds_is_that_of_the_records(study: ResolvedStudy, results: Results) -> None:
    by_seed, by_task = rows_of(pattern_agreement_table(results))
    ranks = {(cell.task.name, cell.seed): ranks_of(cell) for cell in study.cells if cell.method.name == "adalora"}
    pairs = [(("cola", 0), ("cola", 1)), (("cola", 0), ("cola", 2)), (("cola", 1), ("cola", 2))]
    pairs.append((("sst2", 0), ("sst2", 1)))  # seed 2 has one rank everywhere
    expected = [spearmanr(ranks[one], ranks[other]).statistic for one, other in pairs]
    assert (by_seed["pairs differ in"], by_seed["method"], by_seed["budget"]) == ("seed", "AdaLoRA", "small")
    assert float(by_seed["mean, Spearman's ρ"]) == pytest.approx(mean(expected))
    assert float(by_seed["smallest, Spearman's ρ"]) == pytest.approx(min(expected))
    assert float(by_seed["largest, Spearman's ρ"]) == pytest.approx(max(expected))
    assert by_seed["pairs"] == "4"
    # The ranks here don't depend on the task, so the two pairs of tasks agree fully.
    assert (by_task["pairs differ in"], by_task["pairs"]) == ("task", "2")
    assert float(by_task["mean, Spearman's ρ"]) == pytest.approx(1)
    assert float(by_task["p"]) == pytest.approx(1 / 5_000)
    assert float(by_task["p, Holm"]) == pytest.approx(2 / 5_000)


def test_a_footnote_counts_the_cells_without_a_correlation(results: Results) -> None:
    table = pattern_agreement_table(results)
    assert table is not None
    assert any("one rank, which has no correlation: 1 cell." in note for note in table.footnotes)
    assert [row[3].bold for row in table.rows] == [True, True]


def test_without_two_patterns_there_is_no_table(results: Results) -> None:
    assert pattern_agreement_table(results.restricted_to(["lora"])) is None
    assert pattern_worth_pairs(results) == []


def test_failed_cells_and_adapters_without_ranks_have_no_pattern(study: ResolvedStudy, folder: Path) -> None:
    record = read_results(study, folder).full_record(study.find("cola", "adalora", "small", 0).id)
    reader = PatternReader()
    first, second = reader.read(record), reader.read(record)
    assert first is not None
    assert second is not None
    assert first.sites is second.sites
    assert reader.read(record.model_copy(update={"status": "diverged"})) is None
    assert reader.read(record.model_copy(update={"ranks": {}})) is None


def test_means_by_role_and_layer_are_those_of_the_records(study: ResolvedStudy, results: Results) -> None:
    ids = [study.find("cola", "adalora", "small", seed).id for seed in range(SEEDS)]
    patterns = [results.patterns[cell_id] for cell_id in ids]
    queries = [
        [site.end for site in results.full_record(cell_id).ranks.values() if site.matrix.endswith("query")]
        for cell_id in ids
    ]
    roles = means_by_place(patterns, ROLE)
    assert [name for _, _, name in sorted(roles)][:3] == ["query", "key", "value"]
    assert roles[min(roles)] == [mean(ranks) for ranks in queries]
    layers = means_by_place(patterns, LAYER)
    assert [layer for _, layer, _ in sorted(layers)] == list(range(6))
    last = [
        mean(site.end for site in results.full_record(cell_id).ranks.values() if site.layer == 5) for cell_id in ids
    ]
    assert layers[max(layers)] == last
    figures = {name: figure for name, _, figure in pattern_figures(results)}
    assert list(figures) == [f"cola-{NAME}", f"sst2-{NAME}"]
    bars = figures[f"cola-{NAME}"].axes[1].collections[0].get_segments()
    assert bars[5][:, 1] == pytest.approx([mean(last) - stdev(last), mean(last) + stdev(last)])


def test_tables_figures_and_page_show_the_patterns(study: ResolvedStudy, folder: Path) -> None:
    files = {file.name for make in (make_tables, make_figures) for file in make(study, folder)}
    assert {"pattern_agreement.md", "pattern_agreement.tex", f"cola-{NAME}.svg", f"sst2-{NAME}.png"} <= files
    assert not any(name.startswith("pattern_worth") for name in files)
    (page,) = make_page(study, folder)
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    body = parser.parse(page.read_text()).find("body")
    assert body is not None
    headings = [heading.text for heading in body.iter("h2")]
    assert headings.index("Tables") < headings.index("Ranks") < headings.index("Over the training")
    texts = [image.get("alt") or "" for image in body.iter("img")]
    shown = [text for text in texts if "mean final rank of the matrices by" in text]
    assert len(shown) == 4  # two tasks, by role and by layer; the figure for print is not repeated
    assert not any("mean final rank by role of the matrix and by layer" in text for text in texts)
    assert "table-pattern_agreement" in [table.get("id") for table in body.iter("table")]


def test_a_study_without_learned_ranks_has_neither(tmp_path: Path) -> None:
    plain = study_of(1, "tasks=[cola]", "methods=[lora]", "grids=[{budgets: [small]}]")
    write_study(plain, tmp_path)
    made = [file.name for make in (make_tables, make_figures, make_page) for file in make(plain, tmp_path)]
    assert not any("pattern" in name for name in made)
    assert "<h2>Ranks</h2>" not in (tmp_path / plain.name / "report.html").read_text()


@pytest.fixture(scope="module")
def comparer() -> Comparer:
    """LoRA is right on 60% of 400 rows, AdaLoRA on 75%, QLoRA, which stands for a late cut here, on 70%."""
    quality = {"lora": 0.6, "adalora": 0.75, "qlora": 0.7}
    made = study_of(5, "tasks=[sst2]", f"methods=[{', '.join(quality)}]", "grids=[{budgets: [small]}]")

    def answers(cell: Cell) -> np.ndarray:
        return np.random.default_rng([cell.seed, len(cell.method.name)]).random(400) < quality[cell.method.name]

    return StudyInMemory(made).comparer(answers)


def test_the_worth_of_a_pattern_is_the_paired_difference_of_the_comparisons(comparer: Comparer) -> None:
    table = pattern_worth_table(comparer, [("lora", "adalora")])
    (worth,) = rows_of(table)
    (same,) = [row for row in rows_of(comparison_table(comparer)) if row["second − first"] == "AdaLoRA − LoRA"]
    assert worth.pop("learned − baseline") == same.pop("second − first")
    assert worth.pop("p, Holm") == worth["p"]  # a single comparison needs no correction
    assert set(worth) == {key for key in same if key not in ("p, Holm", "p, sign flips", "p, McNemar by seed")}
    assert all(same[key] == value for key, value in worth.items())
    assert table.rows[0][5].bold
    assert any(note.startswith("Interval and p: seeds and examples") for note in table.footnotes)
    assert not any("McNemar" in note for note in table.footnotes)


def test_the_table_of_a_study_has_every_baseline_of_its_learned_method(comparer: Comparer) -> None:
    """In the study's cells QLoRA is replaced by a method that is cut after its training, on LoRA's storage."""
    study = comparer.results.study
    late = next(c.method for c in study.cells if c.method.name == "lora").model_copy(
        update={"name": "qlora", "label": "cut late", "description": "LoRA, cut at the end", "allocator": "truncated"}
    )
    cells = tuple(
        cell.model_copy(update={"method": late}) if cell.method.name == "qlora" else cell for cell in study.cells
    )
    reader = PatternReader()
    patterns = {key: found for key, record in comparer.results.records.items() if (found := reader.read(record))}
    results = replace(comparer.results, cells=cells, patterns=patterns)
    pairs = pattern_worth_pairs(results)
    assert pairs == [("lora", "adalora"), ("qlora", "adalora")]
    table = pattern_worth_table(replace(comparer, results=results), pairs)
    assert [row[3].text for row in table.rows] == ["AdaLoRA − LoRA", "AdaLoRA − cut late"]
    assert table.footnotes[0].endswith("cut late: LoRA, cut at the end.")
    (first_p, first_adjusted), (second_p, second_adjusted) = (
        (float(row["p"]), float(row["p, Holm"])) for row in rows_of(table)
    )
    assert first_p < second_p
    assert (first_adjusted, second_adjusted) == pytest.approx((2 * first_p, max(2 * first_p, second_p)))
