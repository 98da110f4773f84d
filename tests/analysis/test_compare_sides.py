"""bench compare names what it does not compare, what differs beside the scores, and when it can't judge."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import html5lib
import pandas as pd
import pytest
from helpers.records import study_of, write_study
from helpers.reproductions import answer_otherwise, bundle_of, rewrite
from helpers.small_cells import record_of

from bench.analysis.compare.report import report_on
from bench.analysis.compare.sides import Side, paired
from bench.cli.app import main
from bench.records.schema import Record

CELLS = ("tasks=[cola, sst2]", "methods=[lora, qlora]")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = write_study(study_of(1, *CELLS), tmp_path_factory.mktemp("made"), rows=200)
    for folder in study.glob("cells/*/*/large"):
        shutil.rmtree(folder)
    return study


@pytest.fixture
def a(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "a" / "demo"))


@pytest.fixture
def b(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "b" / "demo"))


def cell(study: Path, task: str, method: str) -> Path:
    return study / "cells" / task / method / "small" / "seed-0"


def change(study: Path, task: str, method: str, **fields: Any) -> None:
    rewrite(cell(study, task, method), lambda record: record.model_copy(update=fields))


def printed(a: Path, b: Path, capsys: pytest.CaptureFixture, *words: str) -> tuple[int, str]:
    code = main(["compare", str(a), str(b), *words])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_records_of_one_side_only(a: Path, b: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.rmtree(cell(b, "cola", "lora"))
    shutil.rmtree(cell(a, "sst2", "qlora"))
    code, text = printed(a, b, capsys, "--fail-over", "1")
    assert code == 0
    assert "Only in A: cola/lora/small/seed-0." in text
    assert "Only in B: sst2/qlora/small/seed-0." in text
    assert "All cells that both have, 2, are the same" in text


def test_other_specs_and_environments_are_compared_and_named(a: Path, b: Path, capsys: pytest.CaptureFixture) -> None:
    folder = cell(b, "cola", "lora")
    record = record_of(folder)
    answer_otherwise(folder, 20)
    environment = {**record.environment, "packages": {"torch": "2.13.0"}, "machine": "other"}
    spec = {**record.spec, "recipe": {**record.spec["recipe"], "learning_rate": 0.25}}
    change(b, "cola", "lora", environment=environment, spec=spec)
    found = report_on(paired(Side.at(a), Side.at(b)))
    (pair,) = [pair for pair in found.paired.pairs if pair.spec]
    assert pair.id == "cola/lora/small/seed-0"
    assert pair.spec.keys() == {"recipe.learning_rate"}
    assert pair.environment == {"packages.torch": ("2.15.0", "2.13.0")}
    assert found.groups["demo", "cola", "lora", "small"].interval is not None
    code, text = printed(a, b, capsys)
    assert code == 0
    assert "Compared though their specs differ (see the table of specs): cola/lora/small/seed-0." in text
    assert re.search(r"recipe\.learning_rate +\S+ +0\.25 +cola/lora/small/seed-0", text)
    assert re.search(r"packages\.torch +2\.15\.0 +2\.13\.0 +cola/lora/small/seed-0", text)


def test_time_and_memory_are_ratios(a: Path, b: Path) -> None:
    def slower(record: Record) -> Record:
        assert record.training is not None
        assert record.bytes is not None
        assert record.bytes.peak.growth is not None
        seconds = record.training.seconds.model_copy(update={"training": 3 * record.training.seconds.training})
        peak = record.bytes.peak.model_copy(update={"growth": record.bytes.peak.growth // 2})
        return record.model_copy(
            update={
                "training": record.training.model_copy(update={"seconds": seconds}),
                "bytes": record.bytes.model_copy(update={"peak": peak}),
            }
        )

    rewrite(cell(b, "cola", "lora"), slower)
    table = next(t for t in report_on(paired(Side.at(a), Side.at(b))).tables if t.name == "groups")
    (row,) = [row for row in table.rows if (row[0].text, row[1].text) == ("cola", "lora")]
    assert [entry.text for entry in row[-2:]] == ["3.00", "0.50"]
    assert row[6].text == "same bits"


def test_a_cell_that_fails_in_b_fails_the_check(a: Path, b: Path, capsys: pytest.CaptureFixture) -> None:
    change(b, "cola", "lora", status="diverged", reported=None, metrics={})
    code, text = printed(a, b, capsys, "--fail-over", "5")
    assert code == 1
    assert "Ended otherwise: cola/lora/small/seed-0 (ok in A, diverged in B)." in text
    assert "cola/lora/small/seed-0: ended with status 'diverged'" in text
    assert printed(b, a, capsys, "--fail-over", "5")[0] == 0


def test_what_has_no_interval_is_not_judged(a: Path, b: Path, capsys: pytest.CaptureFixture) -> None:
    """Other rows: the difference is shown, without an interval; with nothing else to judge, that is an error."""
    file = cell(b, "cola", "lora") / "predictions.parquet"
    frame = pd.read_parquet(file)
    frame["row"] += 1
    frame.to_parquet(file, index=False)
    answer_otherwise(cell(b, "cola", "lora"), 30)
    code, text = printed(a, b, capsys, "--fail-over", "1")
    assert code == 0
    assert "--fail-over: no interval, so not judged: cola/lora/small" in text
    assert "No interval, the methods were scored on different rows: 1 of the differences." in text
    for task, method in (("cola", "qlora"), ("sst2", "lora"), ("sst2", "qlora")):
        shutil.rmtree(cell(b, task, method))
    code, text = printed(a, b, capsys, "--fail-over", "1")
    assert code == 2
    assert "no difference has an interval" in text


def test_files_that_are_written(a: Path, b: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    answer_otherwise(cell(b, "cola", "lora"), 20)
    assert printed(a, b, capsys, "--out", str(tmp_path / "c.md")) == (0, f"{tmp_path / 'c.md'}\n")
    text = (tmp_path / "c.md").read_text()
    assert text.startswith("# Comparison of two sides\n\n- A: ")
    assert [line for line in text.splitlines() if line.startswith("#")][1:] == [
        "## Over tasks: mean score in points",
        "## Per task, method and budget: score in points, paired over seeds and examples",
    ]
    assert printed(a, b, capsys, "--out", str(tmp_path / "c.html"))[0] == 0
    page = html5lib.HTMLParser(strict=True).parse((tmp_path / "c.html").read_text())
    assert len(list(page.iter("{http://www.w3.org/1999/xhtml}table"))) == 2
    code, said = printed(a, b, capsys, "--out", str(tmp_path / "c.pdf"))
    assert code == 2
    assert "expected a name that ends with .md or .html" in said
    assert not (tmp_path / "c.pdf").exists()


def test_folders_of_results_and_bundles(a: Path, b: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(b, b.parent / "more")
    code, text = printed(a.parent, b.parent, capsys)
    assert code == 0
    assert "All cells that both have, 4, are the same" in text
    assert "Only in B: more (the whole study)." in text
    bundle = bundle_of(a.parent, tmp_path / "a.zip")
    code, text = printed(bundle, b, capsys)
    assert code == 0
    assert f"A: {bundle} (commit" in text
    assert "All cells that both have, 4, are the same" in text


def test_bad_input(a: Path, b: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    code, said = printed(a, tmp_path / "absent", capsys)
    assert (code, "there is no such folder" in said) == (2, True)
    code, said = printed(a, cell(b, "cola", "lora"), capsys)
    assert (code, "no record of a study in it" in said) == (2, True)
    (cell(b, "cola", "lora") / "predictions.parquet").write_bytes(
        (cell(b, "cola", "qlora") / "predictions.parquet").read_bytes()
    )
    code, said = printed(a, b, capsys)
    assert code == 2
    assert str(cell(b, "cola", "lora") / "predictions.parquet") in said
    for task in ("cola", "sst2"):
        shutil.rmtree(b / "cells" / task / "lora")
        shutil.rmtree(a / "cells" / task / "qlora")
    code, said = printed(a, b, capsys)
    assert (code, "no cell is recorded in both" in said) == (2, True)


def test_a_score_that_became_undefined_counts_as_lost(a: Path, b: Path, capsys: pytest.CaptureFixture) -> None:
    """As a correlation does when one side predicts a constant: such a cell is no reason to pass."""

    def undefined(record: Record) -> Record:
        assert record.reported is not None
        none = {split: {"last": dict.fromkeys(values["last"])} for split, values in record.metrics.items()}
        return record.model_copy(
            update={"metrics": none, "reported": record.reported.model_copy(update={"value": None})}
        )

    rewrite(cell(b, "cola", "lora"), undefined)
    code, text = printed(a, b, capsys, "--fail-over", "1")
    assert code == 1
    assert "cola/lora/small/seed-0: ended with an undefined score" in text
    assert printed(b, a, capsys, "--fail-over", "1")[0] != 1  # what was undefined before is not lost
