"""Which records Snakemake is to take for old when the pipeline starts, by their times."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.records import SHARED, make_record

from bench.config.resolve import load_study
from bench.files import canonical_json
from bench.pipeline.outdated_records import SHIFT, age_outdated_records
from bench.pipeline.run_options import RunOptions
from bench.pipeline.study import Pipeline
from bench.records.io import write_record
from bench.records.schema import CellKey

FINGERPRINT, MODEL = "of these rows", {"files": {"model.safetensors": "of this model"}}


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """One cell, whose inputs are prepared and whose record was made of them."""
    study = load_study("demo", [*SHARED, "tasks=[cola]", "methods=[lora]", "seeds=[0]"])
    pipeline = Pipeline(study, study.cells[:1], RunOptions(study="demo", results=tmp_path))
    (cell,) = pipeline.cells
    record = make_record(cell, {"validation": {"mcc": 0.5}}, data={"fingerprint": FINGERPRINT}, model=MODEL)
    key = CellKey.of(cell, cell.identity(FINGERPRINT))
    write_record(record.model_copy(update={"cell": key}), pipeline.paths.cell(cell.id).folder)
    prepare(pipeline, "data", {"fingerprint": FINGERPRINT})
    prepare(pipeline, "model", MODEL)
    return pipeline


def prepare(pipeline: Pipeline, what: str, manifest: object) -> None:
    file = Path(pipeline.inputs("cola")[what])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(canonical_json(manifest))


@pytest.mark.parametrize(
    ("what", "other", "same"),
    [
        ("data", {"fingerprint": "of other rows"}, {"fingerprint": FINGERPRINT}),
        ("model", {"files": {"model.safetensors": "of another model"}}, MODEL),
    ],
)
def test_a_record_of_other_inputs_is_dated_back_while_these_are_read(
    pipeline: Pipeline, what: str, other: object, same: object
) -> None:
    """As `bench train` would, and also where the record is newer, as after copying results from another machine."""
    file = Path(pipeline.records[0])
    time = file.stat().st_mtime_ns
    for manifest, shift in ((same, 0), (other, SHIFT), (other, SHIFT), (same, 0)):
        prepare(pipeline, what, manifest)
        age_outdated_records(pipeline)
        assert file.stat().st_mtime_ns == time - shift
    Path(pipeline.inputs("cola")[what]).unlink()  # it will be newer once it is prepared
    age_outdated_records(pipeline)
    assert file.stat().st_mtime_ns == time


def test_the_file_of_another_user_is_dated_back_as_a_copy(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    file, change_time = Path(pipeline.records[0]), os.utime
    theirs, content = file.stat(), file.read_bytes()

    def utime(path: Path, **times: tuple[int, int]) -> None:
        if path.stat().st_ino == theirs.st_ino:
            raise PermissionError(path)
        change_time(path, **times)

    monkeypatch.setattr(os, "utime", utime)
    prepare(pipeline, "data", {"fingerprint": "of other rows"})
    age_outdated_records(pipeline)
    assert file.stat().st_mtime_ns == theirs.st_mtime_ns - SHIFT
    assert file.read_bytes() == content
