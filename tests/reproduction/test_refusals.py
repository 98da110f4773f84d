"""What can't be trained again: exit code 2, and one sentence that says which record, model or data set, and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.reproductions import Archive, add_seed, bundle_of, contents, of_seed, rewrite
from helpers.small_cells import record_of

from bench.files import digest
from bench.paths import RECORD, CellPaths
from bench.records.found import seeds_beside
from bench.reproduction.recorded import evenly, record_files


def refusal(archive: Archive, path: Path, capsys: pytest.CaptureFixture, *words: str) -> str:
    """The sentence; nothing may be written."""
    before = contents(archive.results.parent)
    assert archive.reproduce(path, *words) == 2
    assert contents(archive.results.parent) == before
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_an_edited_record(one_cell: Archive, folder: Path, capsys: pytest.CaptureFixture) -> None:
    data = json.loads((folder / RECORD).read_text())
    data["reported"]["value"] = 0.99
    (folder / RECORD).write_text(json.dumps(data))
    said = refusal(one_cell, folder, capsys)
    assert str(folder / RECORD) in said
    assert "reported" in said


@pytest.mark.parametrize("name", ["curve.jsonl", "predictions.parquet", "adapter/adapter_model.safetensors"])
def test_an_edited_file(one_cell: Archive, folder: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    with (folder / name).open("ab") as stream:
        stream.write(b"\n")
    said = refusal(one_cell, folder, capsys)
    assert f"{folder / name}: not the file that the record beside it names" in said


def test_an_edited_record_of_another_seed(one_cell: Archive, folder: Path, capsys: pytest.CaptureFixture) -> None:
    """The spread would be wrong."""
    shutil.copytree(folder, folder.parent / "seed-1")
    file = folder.parent / "seed-1" / RECORD
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))
    assert str(file) in refusal(one_cell, folder, capsys)


def test_a_missing_model(one_cell: Archive, folder: Path, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    backbone = {**record_of(folder).spec["backbone"], "path": str(tmp_path / "gone")}
    rewrite(folder, lambda r: r.model_copy(update={"spec": {**r.spec, "backbone": backbone}}))
    said = refusal(one_cell, folder, capsys)
    assert "can't be trained again here: backbone 'small': path" in said
    assert "gone' is no folder" in said


def test_another_model(one_cell: Archive, folder: Path, capsys: pytest.CaptureFixture) -> None:
    here = digest(one_cell.lab.model / "model.safetensors")
    model = {**record_of(folder).model, "files": {**record_of(folder).model["files"], "model.safetensors": "0" * 64}}
    rewrite(folder, lambda r: r.model_copy(update={"model": model}))
    said = refusal(one_cell, folder, capsys)
    assert "backbone 'small': model.safetensors is not that of the record" in said
    assert f"(its SHA-256 is {here[:12]} here, 000000000000 in the record)" in said


def test_other_rows(one_cell: Archive, folder: Path, capsys: pytest.CaptureFixture) -> None:
    rewrite(folder, lambda r: r.model_copy(update={"data": {**r.data, "fingerprint": "0" * 64}}))
    said = refusal(one_cell, folder, capsys)
    assert "data set nyu-mll/glue: its rows are not those of the record" in said
    assert "000000000000 in the record" in said


@pytest.mark.parametrize(("status", "why"), [("oom", "no memory"), ("failed", "no luck")])
def test_a_cell_without_a_result(
    one_cell: Archive, folder: Path, status: str, why: str, capsys: pytest.CaptureFixture
) -> None:
    rewrite(folder, lambda r: r.model_copy(update={"status": status, "message": why}))
    said = refusal(one_cell, folder, capsys)
    assert f"its status is '{status}' ({why}): it has no result" in said


def test_an_evaluation(one_cell: Archive, folder: Path, capsys: pytest.CaptureFixture) -> None:
    rewrite(folder, lambda r: r.model_copy(update={"kind": "evaluation"}))
    assert "bench evaluate" in refusal(one_cell, folder, capsys)


def test_a_spec_of_another_version(one_cell: Archive, folder: Path, capsys: pytest.CaptureFixture) -> None:
    rewrite(folder, lambda r: r.model_copy(update={"spec": {**r.spec, "colour": "red"}}))
    said = refusal(one_cell, folder, capsys)
    assert "its spec can't be read by this version: field colour" in said
    assert "recorded at commit" in said


def test_a_path_that_is_no_record(one_cell: Archive, folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert "there is no such file or folder" in refusal(one_cell, one_cell.results / "absent", capsys)
    assert "it holds the studies test: name one of them" in refusal(one_cell, one_cell.results, capsys)
    assert "is one cell" in refusal(one_cell, folder, capsys, "--cells", "2")
    assert "no such folder" in refusal(one_cell, folder, capsys, "--mirror", str(one_cell.results / "absent"))


def test_the_working_folder_is_a_study(
    one_cell: Archive, folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(folder, lambda record: record.model_copy(update={"status": "oom", "message": "full"}))
    monkeypatch.chdir(one_cell.study)
    assert "none of its 1 records has a result" in refusal(one_cell, Path(), capsys)


def test_the_seeds_beside_the_working_folder_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_seed(folder, 1, 0.5)
    monkeypatch.chdir(folder)
    for here in (Path(), Path("adapter/..")):
        assert [file.resolve() for file in seeds_beside(CellPaths(here))] == seeds_beside(CellPaths(folder))


def test_a_damaged_bundle(one_cell: Archive, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = bundle_of(one_cell.results, tmp_path / "b.zip", b" ")
    said = refusal(one_cell, file, capsys)
    assert str(file) in said
    assert "curve.jsonl: does not have the SHA-256 that manifest.json has" in said


def test_a_study_and_a_bundle_of_it(one_cell: Archive, folder: Path) -> None:
    """Of several cells the code is the worst; a cell that has no result is left out and named."""
    failed, edited = folder.parent / "seed-1", folder.parent / "seed-2"
    shutil.copytree(folder, failed)
    rewrite(failed, lambda r: of_seed(r, 1).model_copy(update={"status": "oom", "message": "no memory"}))
    bundle = bundle_of(one_cell.results, one_cell.results.parent / "b.zip")
    code, found = one_cell.reproduced(bundle)
    assert code == found["code"] == 0
    name = failed.relative_to(one_cell.study / "cells")
    assert found["left_out"] == [f"left out, since it has no result: {name} (oom)"]
    shutil.copytree(folder, edited)
    (edited / RECORD).write_text((edited / RECORD).read_text().replace('"seed": 0', '"seed": 9'))
    code, found = one_cell.reproduced(one_cell.study)
    assert code == found["code"] == 2
    assert [entry["outcome"] for entry in found["cells"]] == ["cannot", "cannot"]


def test_cells_are_spread_evenly(tmp_path: Path) -> None:
    study = tmp_path / "s"
    for task in ("t1", "t2", "t3"):
        for method in ("m1", "m2"):
            for seed in (0, 1):
                cell = study / "cells" / task / method / "small" / f"seed-{seed}"
                cell.mkdir(parents=True)
                (cell / RECORD).write_text("{}")
    order = [file.parent.relative_to(study / "cells").as_posix() for file in evenly(record_files(study))]
    assert order[:6] == [
        "t1/m1/small/seed-0",
        "t2/m2/small/seed-1",
        "t3/m1/small/seed-0",
        "t1/m2/small/seed-1",
        "t2/m1/small/seed-0",
        "t3/m2/small/seed-1",
    ]
    assert len(set(order)) == 12
