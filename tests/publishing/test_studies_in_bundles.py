"""Bundles of a study that is not complete, made by 0.1 with values taken over, and of one that tunes."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from helpers.leaky_study import environment
from helpers.projects import ROOT
from helpers.tuned import tuned_study, write_final_cells, write_trials

from bench.cli.app import main
from bench.config.resolve import ResolvedStudy
from bench.config.tuned_file import read_tuned
from bench.publishing.bundles.bundle import Wanted, bundle
from bench.publishing.bundles.verify import remake_tables, unpack
from bench.records.io import read_record, write_record

EXAMPLE = ROOT / "results" / "demo" / "example" / "cells"
CELL = "sst2/lora/small/seed-0"
SETS = ("methods=[lora, adalora]", "tasks=[sst2]", "seeds=[0]", "grids=[{budgets: [small]}]")


def members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One real cell of the demo alone, whose record names no version, as those of 0.1 do."""
    folder = tmp_path_factory.mktemp("partial")
    cell = folder / "results" / "demo" / "cells" / CELL
    shutil.copytree(EXAMPLE / CELL, cell)
    record = read_record(cell / "record.json")
    named = {name: value for name, value in record.environment.items() if name not in ("rankbench", "date")}
    write_record(record.model_copy(update={"environment": named}), cell)
    where = ["--results", str(folder / "results"), "--out", str(folder / "demo.zip")]
    assert main(["bundle", "demo", "--partial", "--date", "2026-11-24", *where]) == 0
    return folder / "demo.zip"


def test_a_partial_bundle_says_what_is_missing(partial: Path) -> None:
    files = members(partial)
    manifest = json.loads(files["manifest.json"])
    assert (len(manifest["missing_cells"]), manifest["cells"]) == (39, 40)
    assert CELL not in manifest["missing_cells"]
    assert "**This bundle is partial.** Of 40 cells and trials, 39 have no record" in files["README.md"].decode()
    assert not [name for name in files if "/adapter/" in name]  # nobody asked for it


def test_records_of_0_1_are_told_as_such(partial: Path) -> None:
    files = members(partial)
    assert json.loads(files["manifest.json"])["versions"] == {"0.1": 1}
    commit = read_record(EXAMPLE / CELL / "record.json").environment["commit"]
    assert f"with rankbench 0.1 at commit {commit[:12]} (1)" in files["README.md"].decode()
    assert b"\ntorch==2.15.0" in files["requirements.lock"]


def test_values_taken_over_are_those_of_the_bundle(
    partial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of a file with the same name in the folder where it is verified."""
    (tmp_path / "workflow" / "tuned").mkdir(parents=True)
    (tmp_path / "workflow" / "tuned" / "demo.yaml").write_text("another: file\n")
    monkeypatch.chdir(tmp_path)
    names, different = remake_tables(partial, tmp_path / "tables")
    assert different == []
    assert "lora_adalora.md" in names


def write_tuned(results: Path) -> ResolvedStudy:
    """Two groups of the study `tuned` with all their trials, the last of which diverged."""
    study = tuned_study(*SETS)
    last = [trial for trials in study.trials.values() for trial in trials][-1].id
    made = {"environment": environment()}
    write_trials(study, results, lambda trial: "diverged" if trial.id == last else 0.5, **made)
    write_final_cells(study, results)
    return study


def test_a_study_that_tunes_comes_with_its_trials_and_what_they_chose(tmp_path: Path) -> None:
    study = write_tuned(tmp_path / "results")
    made = bundle(study, tmp_path / "results", tmp_path / "x.zip", Wanted(overrides=SETS)).manifest
    results = unpack(tmp_path / "x.zip", tmp_path / "unpacked")
    trials = sorted((results / "tuned" / "trials").glob("*/*/*/*/*/record.json"))
    assert len(trials) == made.trials == sum(map(len, study.trials.values()))
    assert {read_record(file).environment["machine"] for file in trials} == {"machine-1"}
    assert read_tuned(results / "tuned" / "tuned.yaml").groups == list(study.trials)
    assert (results / "tuned" / "tables" / "trials.parquet").is_file()
    assert remake_tables(tmp_path / "x.zip", tmp_path / "tables")[1] == []


def test_a_missing_trial_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_tuned(tmp_path / "results")
    gone = next(iter(study.trials.values()))[0].id
    shutil.rmtree(tmp_path / "results" / "tuned" / "trials" / gone)
    sets = [word for override in SETS for word in ("--set", override)]
    assert (
        main(["bundle", "tuned", *sets, "--results", str(tmp_path / "results"), "--out", str(tmp_path / "x.zip")]) == 2
    )
    assert gone in capsys.readouterr().err
