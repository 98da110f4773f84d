"""Records name the version that made them, and those of 0.1, which name none, are still those of their cells."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.config.resolve import load_study
from bench.records.environment import commit_day, committed_file, environment
from bench.records.io import read_record

ROOT = Path(__file__).resolve().parents[2]
OLD = Path(__file__).parent / "version_0_1" / "record.json"


def test_a_record_names_the_version_of_the_checkout_and_the_day() -> None:
    """An editable install keeps the version that it was made from, whatever pyproject.toml says since."""
    environment.cache_clear()
    before = datetime.now(UTC)
    found = environment("cpu")
    assert found["rankbench"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert found["date"] in {f"{day:%Y-%m-%d}" for day in (before, before + timedelta(seconds=60))}


def test_a_record_of_0_1_is_one_of_the_same_cell() -> None:
    record = read_record(OLD)
    rate = "recipe.learning_rate=1e-3"  # the one that the demo of 0.1 took over
    cell = load_study("demo", ["recipe_from=null", rate]).find("sst2", "lora", "small", 0)
    assert record.cell.spec_hash == cell.spec_hash
    assert record.cell.hash == cell.identity(record.data["fingerprint"])
    assert record.environment.get("rankbench") is None
    assert (record.status, record.cell.id) == ("ok", cell.id)


def test_what_is_no_commit_is_none_that_git_knows() -> None:
    for commit in ("--output=x", "HEAD", "", "0" * 40):
        assert committed_file(commit, "README.md") is None
        assert commit_day(commit) is None
