"""Which files hold a split: by the hub's naming, by the README, or as the task says, and whether all are there."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, disable_progress_bars
from helpers.rows import all_rows
from pydantic import ValidationError

from bench.config.cell import DataChoice
from bench.config.data import Data
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.locate.dataset_card import Card
from bench.inputs.locate.split_files import files_of_split, names_in
from bench.inputs.sources import read_source

COLUMNS = {"text": ["text"], "target": "label"}
CSV = "text,label\na,0\nb,1\n"


def found(names: list[str], split: str = "train", config: str | None = None) -> list[str]:
    data = Data.model_validate({"hub": "own/set", "config": config, "columns": COLUMNS})
    return files_of_split(sorted(names), Card(), data, split, "FOLDER")


@pytest.mark.parametrize(
    ("config", "names", "expected"),
    [
        (None, ["train.csv", "validation.csv"], ["train.csv"]),
        (None, ["data/train.jsonl.gz", "README.md"], ["data/train.jsonl.gz"]),
        ("c", ["c/train.tsv", "d/train.tsv", "train.tsv"], ["c/train.tsv"]),
        (None, [f"data/train-0000{i}-of-00002-1a2b.parquet" for i in (0, 1)], None),
        (None, [f"train-0000{i}-of-00002.parquet" for i in (1, 2)], None),
        (None, [f"default/train/000{i}.parquet" for i in (0, 1)], None),  # as the hub converts
        ("default", [f"default/train/000{i}.parquet" for i in (0, 1)], None),
        ("c", ["c/train/0000.parquet", "d/train/0000.parquet"], ["c/train/0000.parquet"]),
        (None, ["train/2019.csv", "train/2020.csv"], None),  # years, not shards
        (None, ["train/data-00000-of-00001.arrow", "train/state.json", "train/cache-1.arrow"], None),
        (None, ["train.zip", "train.py", "train.txt"], ["train.zip"]),
    ],
)
def test_a_split_is_found_by_the_hubs_names(config: str | None, names: list[str], expected: list[str] | None) -> None:
    every_file = [name for name in names if "state" not in name and "cache" not in name]
    assert found(names, config=config) == (expected or every_file)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"data/train-0000{i}-of-00003.parquet" for i in (0, 2)], r"1 of 3 shards is missing in data: train-00001-of"),
        (["train-00000-of-00003.csv"], r"2 of 3 shards are missing in \.: train-00001-of-00003\.csv, train-00002-of"),
        (["train-00000-of-00001.csv", "train-00000-of-00002.csv"], r"shards of different wholes"),
        (["train-00000-of-00001-a.csv", "train-00000-of-00001-b.csv"], r"are the same shard"),
        (
            [f"default/train/000{i}.parquet" for i in (0, 2)],
            r"1 of 3 shards is missing in default/train: 0001\.parquet",
        ),
        ([f"default/train/000{i}.parquet" for i in (1, 2)], r"missing in default/train: 0000\.parquet"),
        (["train.csv", "train.parquet"], r"train\.csv and train\.parquet are of several formats"),
        (["train.csv", "train.csv.gz"], r"several formats"),
        (["train-00000-of-00002.csv", "train-00001-of-00002.jsonl"], r"several formats"),
        (["train.csv", "data/train.csv"], r"data/train\.csv and train\.csv both hold it"),
        (["train.csv", "train-00000-of-00001.csv"], r"both hold it"),
        (["Train.csv"], r"no file of split 'train' in FOLDER \(did you mean 'Train'\?\)"),
        (["trian.csv", "dev.csv"], r"did you mean 'trian'"),
        (["dev.csv", "test.csv"], r"\(valid: dev, test\)"),
        (["train.xlsx", "dev.csv"], r"train\.xlsx is of no format that is read"),
        (["train.csv/rows.txt"], r"train\.csv is a folder"),
        (["c/train.csv", "d/train-00000-of-00001.csv", "e/test.csv"], r"`config` should be one of c, d$"),
        (["plain/train/0000.parquet"], r"`config` should be one of plain$"),
        ([], r"no file of split 'train' in FOLDER$"),
    ],
)
def test_a_split_that_is_not_whole_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        found(names)


def write(mirror: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        file = mirror / "datasets/own/set" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return mirror


def task(labels: tuple[str, ...] = ("neg", "pos"), **data: Any) -> Task:
    data = {"columns": COLUMNS, **({} if "files" in data else {"hub": "own/set"}), **data}
    return Task.model_validate(
        {"name": "own", "kind": "classification", "labels": list(labels), "metrics": ["accuracy"], "data": data}
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.md", "---\ndataset_info:\n  splits:\n  - {name: train, num_examples: 3}\n---\n"),
        ("dataset_infos.json", json.dumps({"default": {"splits": {"train": {"name": "train", "num_examples": 3}}}})),
    ],
)
def test_declared_numbers_of_rows_are_checked(tmp_path: Path, name: str, content: str) -> None:
    write(tmp_path, {"train.csv": CSV, "validation.csv": CSV, name: content})
    with pytest.raises(BenchError, match=r"split 'train': it has 2 rows, but the data set declares 3"):
        read_source(task(), DataChoice(source="hub", train_rows=1), tmp_path)
    write(tmp_path, {name: content.replace("3", "2")})
    assert len(read_source(task(), DataChoice(source="hub"), tmp_path).splits["train"]) == 2


CLASSES = {
    "README.md": "---\ndataset_info:\n  features:\n  - name: label\n    dtype: {class_label: {names: [X, Y]}}\n---\n",
    "dataset_infos.json": '{"default": {"features": {"label": {"names": ["X", "Y"], "_type": "ClassLabel"}}}}',
}


@pytest.mark.parametrize("where", ["README.md", "dataset_infos.json", "train.parquet"])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["pos", "neg"], r"has the classes \['pos', 'neg'\], but `labels` of task 'own' are \['neg', 'pos'\].*order"),
        (["bad", "good"], r"\['bad', 'good'\].*`class_names`"),
        (["Neg", "POS"], None),
        (["0", "1"], None),
    ],
)
def test_class_names_in_the_data_are_those_of_the_task(
    tmp_path: Path, where: str, names: list[str], message: str | None
) -> None:
    write(tmp_path, {"train.csv": CSV, "validation.csv": CSV})
    folder = tmp_path / "datasets/own/set"
    if where == "train.parquet":
        (folder / "train.csv").unlink()
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = pa.table({"text": ["a", "b"], "label": [0, 1]})
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(metadata), folder / where)
    else:
        write(tmp_path, {where: CLASSES[where].replace("X", names[0]).replace("Y", names[1])})
    if message is None:
        read_source(task(), DataChoice(source="hub"), tmp_path)
    else:
        with pytest.raises(BenchError, match=message):
            read_source(task(), DataChoice(source="hub"), tmp_path)
    read_source(task(class_names=names), DataChoice(source="hub"), tmp_path)


def test_strings_are_labels_by_the_names_in_the_data(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": "text,label\na,bad\nb,good\n", "validation.csv": CSV})
    source = read_source(task(class_names=["bad", "good"]), DataChoice(source="hub"), tmp_path)
    assert all_rows(source.splits["train"]).targets == [0, 1]


def test_files_of_a_task_are_beside_its_file_or_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, working = tmp_path / "workflow/tasks", tmp_path / "here"
    for folder, rows in ((beside, "a,0\n"), (working, "b,1\n")):
        (folder / "my").mkdir(parents=True)
        (folder / "my/one.csv").write_text(f"text,label\n{rows}")
    (working / "my/two.csv").write_text(CSV)
    monkeypatch.chdir(working)
    files = {"train": "my/one.csv", "dev": ["my/t*.csv"]}
    data = {"files": files, "columns": COLUMNS}
    plain = {"name": "own", "kind": "classification", "labels": ["neg", "pos"], "metrics": ["accuracy"], "data": data}
    own = Task.model_validate(plain, context={"folder": beside})
    source = read_source(own, DataChoice(source="hub"), None)
    assert all_rows(source.splits["train"]).texts == [["a"]]
    assert len(source.splits["dev"]) == 2
    assert set(source.files) == {"my/one.csv", "my/two.csv"}  # a record names no folder of a user
    assert own.data.evaluation == {"dev": "dev"}
    with pytest.raises(BenchError, match=r"there is no file my/ones\.csv \(looked for .*did you mean 'one\.csv'"):
        read_source(task(files={**files, "train": "my/ones.csv"}), DataChoice(source="hub"), None)
    with pytest.raises(BenchError, match=r"one\.csv is named twice"):
        read_source(task(files={**files, "train": ["my/one.csv", "my/o*.csv"]}), DataChoice(source="hub"), None)
    with pytest.raises(BenchError, match=r"my is a folder: name its files"):
        read_source(task(files={**files, "train": "my"}), DataChoice(source="hub"), None)


def test_a_saved_data_set_is_a_folder_per_split(tmp_path: Path) -> None:
    disable_progress_bars()
    rows = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 0]}).cast_column(
        "label", ClassLabel(names=["n", "p"])
    )
    DatasetDict(train=rows, dev=rows).save_to_disk(tmp_path, num_shards={"train": 2, "dev": 1})
    files = {split: str(tmp_path / split) for split in ("train", "dev")}
    source = read_source(task(("n", "p"), files=files), DataChoice(source="hub"), None)
    assert all_rows(source.splits["train"]).texts == [["a"], ["b"], ["c"]]
    with pytest.raises(BenchError, match=r"classes \['n', 'p'\].*\['p', 'n'\]"):
        read_source(task(("p", "n"), files=files), DataChoice(source="hub"), None)
    with pytest.raises(BenchError, match=r"is a folder: name one of its splits, such as .*/dev"):
        read_source(task(("n", "p"), files={**files, "train": str(tmp_path)}), DataChoice(source="hub"), None)
    (tmp_path / "train/data-00001-of-00002.arrow").unlink()
    with pytest.raises(BenchError, match=r"train lacks data-00001-of-00002\.arrow"):
        read_source(task(("n", "p"), files=files), DataChoice(source="hub"), None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"hub": None}, "`hub`, a data set, `files`, .* and `installed`"),
        ({"files": {"train": "a.csv", "dev": "b.csv"}, "hub": "own/set"}, "a data set, `files`, .* and `installed`"),
        ({"files": {"train": "a.csv", "dev": "b.csv"}, "config": "c"}, "`config` is for a data set of the hub"),
        ({"files": {"train": "a.csv"}}, "names no file of split 'validation'"),
        ({"files": {"train": "a.csv", "dev": "b.csv"}, "evaluation": {"dev": "deb"}}, "did you mean 'dev'"),
        ({"files": {"train": [], "dev": "b.csv"}}, "at least 1 item"),
        ({"encoding": "utf-9"}, "expected an encoding"),
        ({"class_names": ["a"]}, "class_names.*each of 2 labels"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**data)


def test_hidden_files_and_links_that_lead_in_circles_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": CSV, ".cache/train.csv": CSV, "data/._train.csv": CSV})
    folder = tmp_path / "datasets/own/set"
    (folder / "up").symlink_to(folder)
    (folder / "z").mkdir()
    (folder / "z/dev.csv").touch()
    (folder / "a").symlink_to(folder / "z")
    assert names_in(folder) == ["a/dev.csv", "train.csv", "z/dev.csv"]


@pytest.mark.parametrize("config", [None, "default"])
def test_the_hub_is_asked_for_the_files_of_the_splits_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str | None
) -> None:
    import huggingface_hub

    mirror = write(tmp_path, {f"default/{split}/0000.csv": CSV for split in ("train", "validation", "test")})
    write(mirror, {"README.md": "Text", "other/train.csv": CSV, ".gitattributes": ""})
    folder = mirror / "datasets/own/set"
    asked: list[list[str]] = []

    def info(_: Any, hub: str, *, revision: str | None) -> SimpleNamespace:
        assert (hub, revision) == ("own/set", None)
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        return SimpleNamespace(sha="c" * 40, siblings=[SimpleNamespace(rfilename=name) for name in names])

    def snapshot(hub: str, *, repo_type: str, revision: str, allow_patterns: list[str]) -> str:
        assert (hub, repo_type, revision) == ("own/set", "dataset", "c" * 40)
        asked.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    source = read_source(task(config=config), DataChoice(source="hub"), None)
    assert asked == [["README.md"], ["default/train/0000.csv", "default/validation/0000.csv"]]
    assert (source.revision, len(source.splits["train"])) == ("c" * 40, 2)
    with pytest.raises(BenchError, match=r"no file of split 'valid' in own/set on the hub.*did you mean 'validation'"):
        read_source(task(config=config, evaluation={"dev": "valid"}), DataChoice(source="hub"), None)
