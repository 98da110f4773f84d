"""The published numbers in results/reference/: they are as printed, and known errors carry a remark."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from helpers.records import make_record, study_of, write_cell

from bench.analysis.published import Published, PublishedNumber, read_published
from bench.analysis.reference.ledger import COLUMNS, LEDGER_COLUMNS, read_ledger
from bench.analysis.results import Results, read_results
from bench.analysis.tables.published import published_entry, published_table, secondary_table
from bench.records.io import write_record

FOLDER = Path(__file__).parents[2] / "results" / "reference"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    backbones = "{classification: deberta-v3-base, regression: deberta-v3-base, summarization: bart-large}"
    study = study_of(1, f"backbones={backbones}", "tasks=[mnli, sst2, cola, qnli, cnn_dailymail, stsb]")
    write_cell(folder / study.name, study.cells[0], 0.8)
    return read_results(study, folder)


@pytest.fixture(scope="module")
def published(results: Results) -> Published:
    return read_published(results)


@pytest.mark.parametrize(
    ("task", "metric", "split", "budget", "method", "shown"),
    [
        ("cola", "mcc", "validation", "small", "lora", "68.71 (5)"),
        ("cola", "mcc", "validation", "large", "adalora", "71.45 (5)"),
        ("mnli", "accuracy", "matched", "small", "adalora", "90.66 (5)"),
        ("mnli", "accuracy", "mismatched", "small", "adalora", "90.70 (5)"),
        ("cnn_dailymail", "rougeLsum", "validation", "large", "adalora", "42.09"),
        ("cnn_dailymail", "rougeL", "validation", "small", "lora", "30.78 (1)"),
        ("sst2", "accuracy", "validation", "small", "qlora_adalora", "96.44 (1)"),
        ("sst2", "accuracy", "validation", "large", "qlora", "—"),
        ("stsb", "mean_correlation", "validation", "small", "adalora", "91.63 (5)"),
    ],
)
def test_a_printed_number_is_found_in_points(
    published: Published, task: str, metric: str, split: str, budget: str, method: str, shown: str
) -> None:
    assert published_entry(published, (task, metric, split, budget), method).text == shown


def test_numbers_of_another_backbone_are_not_shown(tmp_path: Path) -> None:
    study = study_of(1)
    assert study.cells[0].backbone.name == "minilm"
    write_cell(tmp_path / study.name, study.cells[0], 0.8)
    assert read_published(read_results(study, tmp_path)).numbers == ()


def test_remarks_on_a_number_stand_below_the_table(published: Published, results: Results) -> None:
    notes = published.notes([("qnli", "accuracy", "validation", "small")], results.restricted_to(["lora"]))
    assert any("table 14 of the same paper prints 94.31" in note for note in notes)


def test_counts_known_to_be_wrong_carry_a_remark() -> None:
    with (FOLDER / "earlier_tables.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    quantized = [row for row in rows if row["metric"] == "base size" and row["method"].startswith("qlora")]
    assert len(quantized) == 8
    assert all("really 234.5 MiB" in row["remark"] for row in quantized)
    counts = {(row["task"], row["method"]): row for row in rows if row["metric"] == "trained parameters"}
    assert "334,083" in counts["mnli", "qlora"]["remark"]
    assert "400,346" in counts["sst2", "adalora"]["remark"]


def test_seeds_and_backbones_are_those_that_the_source_names() -> None:
    """The paper says five seeds for GLUE alone; counts, sizes and times are no means over seeds."""
    for file in sorted(FOLDER.glob("*.csv")):
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream):
                score = row["unit"] in ("percent", "fraction")
                seeds = {"adalora_table_1": "5", "earlier_tables": "1"}.get(file.stem, "") if score else ""
                assert row["seeds"] == seeds, row
                if row["source"] == "earlier T5 tables":
                    assert row["backbone"] == row["table"], row
                else:
                    summary = row["task"] in ("cnn_dailymail", "xsum")
                    assert row["backbone"] == ("bart-large" if summary else "deberta-v3-base"), row


def test_the_rank_of_an_earlier_budget_is_a_guess(published: Published, results: Results) -> None:
    notes = published.notes([("cola", "mcc", "validation", "large")], results.restricted_to(["qlora", "adalora"]))
    assert not any("rank of this budget" in note for note in notes)  # the paper's number comes first, and says its rank
    notes = published.notes([("cnn_dailymail", "rouge1", "validation", "small")], results.restricted_to(["lora"]))
    assert not any("rank of this budget" in note for note in notes)
    notes = published.notes([("cnn_dailymail", "rougeL", "validation", "large")], results.restricted_to(["lora"]))
    assert any("the rank of this budget is not said, 8 is assumed" in note for note in notes)


def test_every_line_has_a_source_a_value_and_a_unit() -> None:
    files = sorted(FOLDER.glob("*.csv"))
    assert [file.stem for file in files] == [
        "adalora_table_1",
        "adalora_table_15",
        "adalora_table_2",
        "adalora_table_3",
        "adapad",
        "earlier_tables",
        "pissa",
        "reflora",
        "scalora",
    ]
    for file in files:
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream):
                assert set(row) == set(COLUMNS)
                assert row["source"]
                assert float(row["value"]) > 0
                assert row["unit"]


def test_a_secondary_number_stands_in_a_table_of_its_own(published: Published, results: Results) -> None:
    place = ("cola", "mcc", "validation", "large")
    assert {number.method for number in published.at(place) if number.secondary} >= {"pissa", "dora", "reflora"}
    assert published.find(place, "pissa") is None
    first, second = published_table(results, published), secondary_table(results, published)
    assert first is not None
    assert second is not None
    assert "PiSSA" not in " ".join(first.footnotes)
    assert second.title.startswith("Secondary: published numbers read in notes on the papers, not in the papers")
    rows = [[entry.shown for entry in row] for row in second.rows]
    assert ["CoLA", "MCC", "large", "pissa", "Meng et al. 2024 (PiSSA)", "—", "1.33M", "73.12"] in rows
    assert ["CoLA", "MCC", "large", "DoRA", "Meng et al. 2024 (PiSSA)", "—", "1.27M", "70.85"] in rows
    assert all("rank 4" not in row and "0.47M" not in row for row in rows)  # budgets that the study does not have


def test_copies_mixtures_and_protocols_are_told_below_the_table(published: Published, results: Results) -> None:
    table = secondary_table(results, published)
    assert table is not None
    notes = table.footnotes
    assert "All rows: whether it is of the last step or the best on these rows is not said." in notes
    assert (
        "Su et al. 2026 (AdaPaD), LoRA small: of a row that mixes values copied from "
        "Zhang et al. 2023 (AdaLoRA), table 1 with others."
    ) in notes
    assert "Zhang et al. 2025 (RefLoRA), DoRA large: copied from Meng et al. 2024 (PiSSA)." in notes
    assert any(note.startswith("MNLI of ") and note.endswith("matched or mismatched is not said.") for note in notes)


def test_what_is_known_of_a_number_read_in_its_paper_is_told_too(results: Results) -> None:
    number = PublishedNumber(
        *("Paper 2024", "cola", "deberta-v3-base", "mcc", "", "lora", "small", 68.0, "3", ""),
        protocol="best on dev",
        copied_from="Zhang et al. 2023 (AdaLoRA), table 1",
    )
    notes = Published((number,), {"cola": "validation"}).notes([("cola", "mcc", "validation", "small")], results)
    assert "Published CoLA LoRA small 68.00: copied from Zhang et al. 2023 (AdaLoRA), table 1." in notes
    assert "Published CoLA LoRA small 68.00: of the best step on these rows, which is optimistic." in notes


def test_a_file_without_the_columns_of_the_ledger_is_still_read(tmp_path: Path) -> None:
    with (FOLDER / "adalora_table_3.csv").open(newline="") as stream:
        rows = [{name: row[name] for name in COLUMNS if name not in LEDGER_COLUMNS} for row in csv.DictReader(stream)]
    with (tmp_path / "old.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    lines = read_ledger([tmp_path / "old.csv"])
    assert [line.points for line in lines] == [float(row["value"]) for row in rows]
    assert {line.quality for line in lines} == {""}


def test_the_columns_of_the_ledger_say_how_a_number_was_read() -> None:
    """Numbers of the AdaLoRA paper were read in it; those of later papers in notes, which don't say the protocol."""
    secondary = {line.file.stem for line in read_ledger(sorted(FOLDER.glob("*.csv"))) if line.quality == "secondary"}
    assert secondary == {"adapad", "pissa", "reflora", "scalora"}
    for line in read_ledger(sorted(FOLDER.glob("*.csv"))):
        assert line.quality in ("primary", "secondary")
        assert line.protocol == ("not said" if line.quality == "secondary" else "")


def test_no_source_is_named_whose_number_is_in_no_row(tmp_path: Path) -> None:
    """QLoRA has a published number at the small budget, for which this study does not ask."""
    grids = "grids=[{budgets: [small], methods: [lora]}, {budgets: [large], methods: [qlora]}]"
    study = study_of(1, "backbones={classification: deberta-v3-base}", "tasks=[sst2]", grids)
    write_cell(tmp_path / study.name, study.cells[0], 0.8)
    results = read_results(study, tmp_path)
    table = published_table(results, read_published(results))
    assert table is not None
    assert [[entry.text for entry in row[2:4]] for row in table.rows] == [["small", "LoRA"]]
    (sources,) = [note for note in table.footnotes if note.startswith("Published numbers (seeds")]
    assert "table 1" in sources
    assert "quantised" not in sources


def test_a_number_has_no_more_decimals_than_its_paper_prints(tmp_path: Path) -> None:
    """92.9 in the paper is not 92.90: it may be 92.94."""
    study = study_of(1, "backbones={question-answering: deberta-v3-base}", "tasks=[squad]", "methods=[lora]")
    place = study.cells[0].task.primary_split
    record = make_record(study.cells[0], {place: {"exact_match": 0.8, "f1": 0.9}})
    folder = tmp_path / study.name / "cells" / study.cells[0].id
    folder.mkdir(parents=True)
    write_record(record, folder)
    published = read_published(read_results(study, tmp_path))
    assert published_entry(published, ("squad", "f1", place, "small"), "lora").text == "92.9"
    assert published_entry(published, ("squad", "exact_match", place, "large"), "lora").text == "86.7"
