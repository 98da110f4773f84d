"""`bench status STUDY --rerun-failed` moves the records of failures aside and leaves results alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.records import sets_of, study_of, write_cell

from bench.cli.app import main

FAILURES = ("oom", "diverged", "failed")


def test_failures_are_set_aside_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = study_of(1, "tasks=[sst2]")
    cells = [cell for cell in study.cells if cell.budget_name == "small"]
    for cell, status in zip(cells, ("ok", *FAILURES), strict=True):
        write_cell(tmp_path / "demo", cell, 0.8, status=status)
    ok_record = (tmp_path / "demo" / "cells" / cells[0].id / "record.json").read_bytes()
    command = ["status", "demo", "--results", str(tmp_path), *sets_of(1, "tasks=[sst2]")]
    for number in (1, 2):
        assert main([*command, "--rerun-failed"]) == 0
        records = sorted((tmp_path / "demo").rglob("record.json"))
        assert [file.read_bytes() for file in records] == [ok_record]
        for cell, status in zip(cells[1:], FAILURES, strict=True):
            set_aside = tmp_path / "demo" / "cells" / cell.id / f"record.{status}-{number}.json"
            assert "no luck" in set_aside.read_text()
            write_cell(tmp_path / "demo", cell, 0.8, status=status)  # it fails again
    assert main(command) == 0
    assert "1 diverged, 1 failed, 4 missing, 1 ok, 1 oom" in capsys.readouterr().out
