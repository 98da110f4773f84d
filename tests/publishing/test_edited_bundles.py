"""Bundles that somebody made to deceive: whole, sealed, and not what they say. They do no harm, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.bundles import members, sealed, without
from helpers.folders import empty_folders

from bench.cli.app import main
from bench.errors import BenchError
from bench.publishing.bundles.verify import verify


@pytest.fixture
def own(bundled: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that may be changed."""
    file = tmp_path / "own.zip"
    file.write_bytes(bundled.read_bytes())
    return file


def test_a_study_whose_name_leads_elsewhere_moves_nothing_there(own: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "tables" / "mine.md"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    changed = sealed(own, {"study": str(tmp_path / "mine"), "cells": 0}, **without(own, "cells"))
    assert main(["verify", str(changed), "--tables", str(tmp_path / "tables")]) == 2
    assert mine.read_text() == "mine"


def test_the_manifest_says_how_many_records_there_are(own: Path) -> None:
    with pytest.raises(BenchError, match=r"changed\.zip: manifest\.json: says 40 records, and the bundle has 4"):
        verify(sealed(own, {"cells": 40}))


def test_a_bundle_without_tables_has_others_than_those_of_its_records(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = sealed(own, **without(own, "tables"))
    assert main(["verify", str(changed), "--tables", str(tmp_path / "tables")]) == 1
    assert "methods.csv" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("empty", [".", "link"])
def test_tables_go_into_an_empty_folder_that_stays(
    empty: str, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that one works in, or a link to a folder, can't be replaced by another one."""
    folders = empty_folders(tmp_path, monkeypatch)
    assert main(["verify", str(own), "--tables", empty if empty == "." else str(folders.link)]) == 0
    made = {f"results/demo/tables/{file.name}" for file in (folders.here if empty == "." else folders.target).iterdir()}
    assert made == {name for name in members(own) if "/tables/" in name}
