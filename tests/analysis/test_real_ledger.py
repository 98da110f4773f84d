"""What the audit finds in the ledger of the repository: the known copies, the mixed row, two rules of averages."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.reference.audit import Audit, audit_ledger
from bench.analysis.reference.ledger import COLUMNS, ledger_files
from bench.analysis.reference.report import audit_text

ROOT = Path(__file__).parents[2]
ADALORA = "Zhang et al. 2023 (AdaLoRA), table 1"


@pytest.fixture(scope="module")
def real() -> Audit:
    first = {"mnli": "matched"} | dict.fromkeys(
        ["sst2", "cola", "qqp", "qnli", "rte", "mrpc", "stsb", "squad", "squad_v2", "xsum", "cnn_dailymail"],
        "validation",
    )
    return audit_ledger(ledger_files(ROOT / "results" / "reference"), first)


def test_the_mixed_row_of_the_real_ledger(real: Audit) -> None:
    (mixed,) = real.mixed
    assert (mixed.row.head.source, mixed.row.head.method) == ("Su et al. 2026 (AdaPaD)", "lora")
    assert (mixed.origin.head.title, mixed.origin.head.budget) == (ADALORA, "small")
    assert {here.task for here, _ in mixed.equal} == {"sst2", "qnli", "qqp", "mnli"}
    differing: dict[str, Any] = {here.task: (here.points, there.points) for here, there in mixed.different}
    assert differing == {
        "cola": (63.56, 68.71),
        "rte": (79.06, 85.56),
        "mrpc": (78.86, 89.71),
        "stsb": (90.47, 91.68),
    }


def test_the_copied_rows_of_the_real_ledger(real: Audit) -> None:
    whole = {
        (copy.row.head.source, copy.row.head.method): copy.origin.head.title
        for copy in real.copies
        if len(copy.equal) == 8 == copy.shared
    }
    assert whole == {
        ("Meng et al. 2024 (PiSSA)", "adalora"): ADALORA,
        ("Zhang et al. 2025 (RefLoRA)", "adalora"): ADALORA,
        ("Zhang et al. 2025 (RefLoRA)", "lora"): ADALORA,
        ("Zhang et al. 2025 (RefLoRA)", "dora"): "Meng et al. 2024 (PiSSA)",
        ("Zhang et al. 2025 (ScaLoRA)", "full"): ADALORA,
    }


def test_the_copies_would_be_found_without_being_declared(tmp_path: Path, real: Audit) -> None:
    files = []
    for file in real.files:
        with file.open(newline="") as stream:
            rows = [row | {"copied_from": ""} for row in csv.DictReader(stream)]
        files.append(tmp_path / file.name)
        with files[-1].open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    found = audit_ledger(files, real.rows[0].first_split)
    assert [copy.row.name for copy in found.copies] == [copy.row.name for copy in real.copies]
    assert [copy.origin.name for copy in found.copies] == [copy.origin.name for copy in real.copies]


def test_the_averages_of_the_real_ledger(real: Audit) -> None:
    """AdaLoRA's 89.31 counts the F1 of QQP, too; the 89.46 of others does not. MNLI's splits hardly matter."""
    assert len(real.averages) == 23
    assert not real.unexplained
    assert [copy.averages for copy in real.copies if copy.row.head.method == "adalora"] == [(89.46, 89.31)] * 2
    (check,) = [c for c in real.averages if c.line.title == ADALORA and c.line.points == 89.31]
    assert check.fits == ("mnli=matched; qqp=mean", "mnli=mean; qqp=mean")
    assert {rule: round(value, 2) for rule, value in check.values.items()} == {
        "mnli=matched; qqp=accuracy": 89.46,
        "mnli=mean; qqp=accuracy": 89.47,
        "mnli=matched; qqp=mean": 89.31,
        "mnli=mean; qqp=mean": 89.31,
    }
    rules = [set(check.fits) for check in real.averages if check.line.title == ADALORA]
    assert set.intersection(*rules) == {"mnli=mean; qqp=mean"}


def test_the_documentation_shows_the_real_audit(real: Audit) -> None:
    page = (ROOT / "docs" / "published.md").read_text()
    assert "".join(f"    {line}\n" if line else "\n" for line in audit_text(real).splitlines()) in page
