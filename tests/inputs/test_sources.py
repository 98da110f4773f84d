"""Rows are read from a folder in the hub's layout and checked before any model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.rows import all_rows

from bench.cli.app import main
from bench.config.catalog import load_catalog
from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs import synthetic
from bench.inputs.backbones import prepare_backbone
from bench.inputs.datasets import open_data, prepare_task, recorded_data
from bench.inputs.sources import read_source

HUB = DataChoice(source="hub")
RTE: dict[str, Any] = {
    "name": "rte",
    "kind": "classification",
    "data": {
        "hub": "nyu-mll/glue",
        "config": "rte",
        "columns": {"text": ["sentence1", "sentence2"], "target": "label"},
    },
    "labels": ["entailment", "not_entailment"],
    "metrics": ["accuracy"],
}
COLUMNS: dict[str, list[Any]] = {
    "sentence1": ["A cat sleeps.", "Rain fell.", "He left."],
    "sentence2": ["It rests.", "It was dry.", "He stayed."],
    "label": [0, 1, 1],
}


def write(folder: Path, split: str = "train", **changes: list[Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({**COLUMNS, **changes}), folder / f"{split}-00000-of-00001.parquet")


@pytest.fixture
def rte(tmp_path: Path) -> Path:
    for split in ("train", "validation"):
        write(tmp_path / "datasets/nyu-mll/glue/rte", split)
    return tmp_path


def test_a_set_without_a_readme_is_found_by_the_hubs_names(rte: Path) -> None:
    source = read_source(Task.model_validate(RTE), HUB, rte)
    assert all_rows(source.splits["train"]).texts[0] == ["A cat sleeps.", "It rests."]
    assert all_rows(source.splits["validation"]).targets == [0, 1, 1]
    assert set(source.files) == {f"rte/{s}-00000-of-00001.parquet" for s in ("train", "validation")}
    assert not source.synthetic


def test_a_readme_says_where_the_files_are(rte: Path) -> None:
    folder = rte / "datasets/nyu-mll/glue"
    (folder / "rte").rename(folder / "elsewhere")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: rte\n  data_files:\n  - {split: train, path: elsewhere/train-*}\n"
        "  - {split: validation, path: elsewhere/validation-*}\n---\n"
    )
    assert len(read_source(Task.model_validate(RTE), HUB, rte).splits["train"]) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": [0, 1, 2]}, r"split 'validation', row 2: column 'label' should hold 0 to 1 .*found 2"),
        ({"label": [0, -1, 1]}, r"row 1: .*unlabeled"),
        ({"label": ["entailment", "entailmnt", "entailment"]}, r"row 1: .*did you mean 'entailment'"),
        ({"sentence1": ["a", None, "b"]}, r"row 1: column 'sentence1' should hold a text, found None"),
        ({"sentence1": [], "sentence2": [], "label": []}, r"split 'validation': it has no row"),
    ],
)
def test_bad_rows_are_named(rte: Path, changes: dict[str, list[Any]], message: str) -> None:
    write(rte / "datasets/nyu-mll/glue/rte", "validation", **changes)
    with pytest.raises(BenchError, match=message):
        read_source(Task.model_validate(RTE), HUB, rte)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e39])
def test_a_number_that_training_cannot_hold_is_named(rte: Path, value: float) -> None:
    task = {**RTE, "kind": "regression", "labels": [], "metrics": ["pearson"]}
    write(rte / "datasets/nyu-mll/glue/rte", "train", label=[1.0, 2.0, 3.4e38])
    write(rte / "datasets/nyu-mll/glue/rte", "validation", label=[1.0, value, 2.0])
    with pytest.raises(BenchError, match=r"split 'validation', row 1: .*'label' should hold a finite number"):
        read_source(Task.model_validate(task), HUB, rte)


def test_a_missing_column_names_the_nearest(rte: Path) -> None:
    data = {**RTE["data"], "columns": {"text": ["sentence_1"], "target": "label"}}
    with pytest.raises(BenchError, match=r"expected the column 'sentence_1'.*did you mean 'sentence1'"):
        read_source(Task.model_validate({**RTE, "data": data}), HUB, rte)


def test_missing_files_and_splits_are_named(rte: Path) -> None:
    data = {**RTE["data"], "evaluation": {"validation": "validatio"}}
    with pytest.raises(BenchError, match=r"no file of split 'validatio'.*did you mean 'validation'"):
        read_source(Task.model_validate({**RTE, "data": data}), HUB, rte)
    with pytest.raises(BenchError, match=r"the mirror has no data set nobody/nothing"):
        read_source(Task.model_validate({**RTE, "data": {**RTE["data"], "hub": "nobody/nothing"}}), HUB, rte)


def several(folder: Path, *entries: str) -> None:
    """Configs `one` with train alone, `two` with train and validation; `entries` stand in theirs."""
    for config, split in (("one", "train"), ("two", "train"), ("two", "validation")):
        write(folder / config, split, label=[0, 0, 0] if config == "one" else [1, 1, 1])
    text = ["---", "configs:"]
    for config, entry in zip(("one", "two"), (*entries, "", ""), strict=False):
        splits = ("train",) if config == "one" else ("train", "validation")
        text += [f"- config_name: {config}", *([f"  {entry}"] if entry else []), "  data_files:"]
        text += [f"  - {{split: {split}, path: {config}/{split}-*}}" for split in splits]
    (folder / "README.md").write_text("\n".join([*text, "---", ""]))


@pytest.mark.parametrize(
    ("config", "entries", "found"),
    [
        ("two", (), 1),
        (None, ("", "default: true"), 1),
        (None, (), "several configs and no default: .*one, two"),
        (None, ("default: true",), "no file of split 'validation'"),
        ("thre", (), "one of one, two"),
    ],
)
def test_all_splits_come_from_one_config(
    tmp_path: Path, config: str | None, entries: tuple[str, ...], found: int | str
) -> None:
    several(tmp_path / "datasets/nyu-mll/glue", *entries)
    task = Task.model_validate({**RTE, "data": {**RTE["data"], "config": config}})
    if isinstance(found, str):
        with pytest.raises(BenchError, match=found):
            read_source(task, HUB, tmp_path)
    else:
        source = read_source(task, HUB, tmp_path)
        assert all(all_rows(split).targets == [found] * 3 for split in source.splits.values())


def test_a_forgotten_config_is_told_which_there_are(rte: Path) -> None:
    write(rte / "datasets/nyu-mll/glue/sst2")
    with pytest.raises(BenchError, match=r"no config.*split 'train' in .*; `config` should be one of rte, sst2"):
        read_source(Task.model_validate({**RTE, "data": {**RTE["data"], "config": None}}), HUB, rte)


def test_a_path_that_leaves_the_folder_is_refused(rte: Path) -> None:
    (rte / "datasets/nyu-mll/glue/README.md").write_text(
        "---\nconfigs:\n- config_name: rte\n  data_files:\n  - {split: train, path: ../../../secret/train-*}\n---\n"
    )
    with pytest.raises(BenchError, match="leaves the data set's folder"):
        read_source(Task.model_validate(RTE), HUB, rte)
    (rte / "datasets/nyu-mll/glue/README.md").unlink()
    write(rte / "outside")
    file = rte / "datasets/nyu-mll/glue/rte/train-00000-of-00001.parquet"
    file.unlink()
    file.symlink_to(rte / "outside/train-00000-of-00001.parquet")
    with pytest.raises(BenchError, match="only files inside"):
        read_source(Task.model_validate(RTE), HUB, rte)


@pytest.mark.parametrize("name", synthetic.generators())
def test_generated_rows_repeat_and_never_stand_in_two_splits(name: str) -> None:
    train, again, validation = (synthetic.rows(name, split) for split in ("train", "train", "validation"))
    assert train == again
    assert not {tuple(row) for row in train.texts} & {tuple(row) for row in validation.texts}
    assert len(set(map(repr, train.targets))) >= 2


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the demo's encoder, which no test changes."""
    folder = tmp_path_factory.mktemp("cache")
    prepare_backbone(load_catalog().backbones["minilm"].item, mirror=None, cache=folder)
    return folder


def test_prepared_rows_are_refused_once_a_byte_differs(cache: Path) -> None:
    catalog = load_catalog()
    task, backbone = catalog.tasks["cola"].item, catalog.backbones["minilm"].item
    choice = DataChoice(source="embedded", train_rows=40, evaluation_rows=20)
    folder = prepare_task(task, backbone, choice, mirror=None, cache=cache)
    data = open_data(folder)
    assert (len(data.train), len(data.evaluation["validation"]), data.manifest["synthetic"]) == (40, 20, True)
    assert data.train.input_ids[0][0] == 101  # [CLS]
    file = folder / "train.arrow"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(BenchError, match=r"train\.arrow is not what was prepared.*bench prepare"):
        open_data(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(BenchError, match=r"manifest\.json is missing"):
        open_data(folder)


def test_the_record_says_how_many_rows_were_left_out(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "rows.csv").write_text("sentence1,sentence2,label\na,b,-1\nc,d,entailment\ne,f,\n")
    files = {"train": str(tmp_path / "rows.csv"), "dev": str(tmp_path / "rows.csv")}
    data = {"files": files, "columns": RTE["data"]["columns"], "drop_unlabelled": True}
    task, backbone = Task.model_validate({**RTE, "data": data}), load_catalog().backbones["minilm"].item
    with caplog.at_level("INFO", logger="bench"):
        prepared = open_data(prepare_task(task, backbone, HUB, mirror=None, cache=cache))
    assert [int(row) for row in prepared.train.rows] == [1]
    assert recorded_data(prepared.manifest)["dropped_unlabelled"] == {"train": 2, "dev": 2}
    assert "2 of 3 rows are unlabeled and left out" in caplog.text


def test_bench_check_names_a_file_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/own.yaml").write_text(
        "name: own\nkind: classification\ndata:\n  files: {train: rows.csv, dev: row.csv}\n"
        "  columns: {text: [a], target: b}\nlabels: [x, y]\nmetrics: [accuracy]\n"
    )
    (tmp_path / "tasks/rows.csv").write_text("a,b\nc,x\n")
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--workflow", str(tmp_path)]) == 2
    assert "own.yaml:4:3: files of task 'own', split 'dev': there is no file row.csv" in capsys.readouterr().err
    (tmp_path / "row.csv").write_text("a,b\nc,x\n")  # in the working folder
    assert main(["check", "--workflow", str(tmp_path)]) == 0


def test_another_number_of_rows_than_the_task_says_is_told(rte: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="bench"):
        read_source(Task.model_validate({**RTE, "data": {**RTE["data"], "rows": {"train": 2490}}}), HUB, rte)
    assert [record.getMessage() for record in caplog.records] == [
        "data set nyu-mll/glue, split 'train': it has 3 rows, and the task's file says 2490 in data.rows"
    ]
