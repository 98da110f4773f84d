"""`bench bundle`: the same bytes wherever a bundle is made, complete or refused, and all that it should hold."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from helpers.leaky_study import DAY, LeakyStudy
from rocrate.rocrate import ROCrate

from bench.config.resolve import load_study
from bench.records.io import read_record


def names_in(file: Path) -> set[str]:
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


def content_of(file: Path, name: str) -> bytes:
    with zipfile.ZipFile(file) as archive:
        return archive.read(name)


def test_it_holds_what_a_folder_of_results_holds(bundled: Path, leaky: LeakyStudy) -> None:
    names = names_in(bundled)
    for cell in leaky.study.cells:
        ok = read_record(leaky.folder(cell) / "record.json").status == "ok"
        files = ("record.json", "curve.jsonl", *(("predictions.parquet", "adapter/adapter_config.json") if ok else ()))
        assert {f"results/demo/cells/{cell.id}/{file}" for file in files} <= names
    assert {
        "results/demo/report.html",
        "results/demo/tables/lora_adalora.md",
        "results/demo/figures/differences.png",
    } <= names
    assert {"workflow/studies/demo.yaml", "workflow/tasks/cola.yaml", "workflow/methods/adalora.yaml"} <= names
    assert {"workflow/backbones/minilm.yaml", "results/reference/adalora_table_1.csv", "requirements.lock"} <= names
    assert not [name for name in names if name.endswith(("summary.json", "index.html", "dora.yaml"))]


def test_the_manifest_has_the_hash_of_every_other_file(bundled: Path) -> None:
    manifest = json.loads(content_of(bundled, "manifest.json"))
    assert manifest["files"].keys() == names_in(bundled) - {"manifest.json"}
    for name, member in manifest["files"].items():
        content = content_of(bundled, name)
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (member["sha256"], member["bytes"]), name


def test_its_study_is_read_from_its_own_files(bundled: Path, leaky: LeakyStudy, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundled) as archive:
        archive.extractall(tmp_path)
    overrides = json.loads((tmp_path / "manifest.json").read_bytes())["overrides"]
    study = load_study("demo", overrides, tmp_path / "workflow")
    assert [cell.spec_hash for cell in study.cells] == [cell.spec_hash for cell in leaky.study.cells]


def test_elsewhere_it_has_the_same_bytes(bundled: Path, leaky: LeakyStudy, tmp_path: Path) -> None:
    """Another process, user, folder, umask, time zone and locale; other times of files."""
    results = tmp_path / "other place"
    shutil.copytree(leaky.results, results, copy_function=shutil.copyfile)
    for file in results.rglob("*"):
        os.utime(file, (10**9, 10**9))
    home = tmp_path / "home"
    home.mkdir()
    changed = {"TZ": "Pacific/Apia", "LC_ALL": "C", "HOME": str(home), "USER": "other", "LOGNAME": "other"}
    command = [sys.executable, "-m", "bench.cli", "bundle", "demo", *leaky.sets, "--adapters", "--out", "other.zip"]
    done = subprocess.run(
        [*command, "--results", str(results)],
        cwd=tmp_path,
        env={**os.environ, **changed},
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256((tmp_path / "other.zip").read_bytes()).hexdigest() == (
        hashlib.sha256(bundled.read_bytes()).hexdigest()
    )


def test_the_crate_is_read_back_with_its_files_and_the_day_of_the_records(bundled: Path) -> None:
    crate = ROCrate(json.loads(content_of(bundled, "ro-crate-metadata.json")))
    files = {str(entity.id) for entity in crate.data_entities}
    assert files == names_in(bundled) - {"manifest.json", "ro-crate-metadata.json"}
    assert (crate.root_dataset["name"], crate.root_dataset["datePublished"]) == ("Records of the study demo", DAY)
    assert crate.root_dataset["author"][0]["name"] == "The rankbench authors"


def test_the_citation_has_what_the_format_asks_for(bundled: Path) -> None:
    citation = yaml.safe_load(content_of(bundled, "CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["type"], citation["date-released"]) == ("dataset", DAY)
    assert citation["references"][0]["version"] == "0.2.0"


def test_the_readme_has_the_commands(bundled: Path) -> None:
    text = content_of(bundled, "README.md").decode()
    for command in ("bench verify demo.zip", "bench reproduce demo.zip --cells 2", "study=demo workflow=workflow"):
        assert command in text
    assert "'set=recipe_from=null; " in text  # what was laid over the study
    assert "partial" not in text


@pytest.mark.parametrize("gone", ["cola/adalora/small/seed-0", "cola/lora/large/seed-0"])
def test_a_missing_cell_is_named(
    gone: str, leaky: LeakyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(leaky.results, tmp_path / "results")
    shutil.rmtree(tmp_path / "results" / "demo" / "cells" / gone)
    assert leaky.bundle(tmp_path / "x.zip", results=tmp_path / "results") == 2
    assert f"1 of 4 cells have no record of their spec: {gone}" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["results"]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("curve.jsonl", "curve.jsonl: does not have the SHA-256"),
        ("record.json", "was changed after the record was written"),
        ("adapter/adapter_model.safetensors", "does not have the SHA-256"),
    ],
)
def test_a_damaged_file_is_named(
    name: str, what: str, leaky: LeakyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(leaky.results, tmp_path / "results")
    file = tmp_path / "results" / "demo" / "cells" / leaky.study.cells[0].id / name
    file.write_bytes(file.read_bytes().replace(b"0", b"1", 1) if name.startswith("r") else b"damaged")
    assert leaky.bundle(tmp_path / "x.zip", "--adapters", results=tmp_path / "results") == 2
    said = capsys.readouterr().err
    assert what in said
    assert str(file) in said


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--author", "<x>"], "--author '<x>': expected 'Family, Given'"),
        (["--date", "yesterday"], "--date yesterday: expected a day, such as 2026-01-31"),
        (["--license", "my own"], "--license my own: expected the id of a license"),
    ],
)
def test_a_wrong_option_is_refused(
    arguments: list[str], what: str, leaky: LeakyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leaky.bundle(tmp_path / "x.zip", *arguments) == 2
    assert what in capsys.readouterr().err


def test_a_file_that_is_no_bundle_is_not_written_over(
    leaky: LeakyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.zip").write_text("mine")
    assert leaky.bundle(tmp_path / "thesis.zip") == 2
    assert "thesis.zip: is a file that is no bundle: name another one" in capsys.readouterr().err
    assert (tmp_path / "thesis.zip").read_text() == "mine"
