"""Rows are tokenized in blocks: the same bytes after an interruption, as lazily read columns, with the same digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from helpers.small_models import save_small_model

from bench.config.backbone import Backbone
from bench.config.catalog import load_catalog
from bench.config.cell import DataChoice
from bench.inputs import portions, tokenize
from bench.inputs.backbones import prepare_backbone
from bench.inputs.datasets import open_data, prepare_task
from bench.inputs.splits import Column, Split
from bench.inputs.tokenize import Tokenizer, rows_digest

EMBEDDED = DataChoice(source="embedded")  # 1,600 rows for training in two blocks, 400 for evaluation in one


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = tmp_path_factory.mktemp("model")
    save_small_model(folder, "classification")
    return Backbone(name="b", path=str(folder), kinds=["classification"], matrices=["query"])


def prepared(backbone: Backbone, cache: Path) -> Path:
    task = load_catalog().tasks["cola"].item
    task = task.model_copy(update={"recipe": task.recipe.model_copy(update={"max_length": 16})})
    prepare_backbone(backbone, mirror=None, cache=cache)
    return prepare_task(task, backbone, EMBEDDED, mirror=None, cache=cache)


@pytest.fixture(scope="module")
def whole(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows, prepared without an interruption."""
    return prepared(backbone, tmp_path_factory.mktemp("whole"))


def test_an_interrupted_preparation_goes_on_to_the_same_bytes(
    backbone: Backbone, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    plain = Tokenizer.__call__

    def interrupted(self: Tokenizer, rows: Any) -> Any:
        calls.append(len(rows.numbers))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(self, rows)

    monkeypatch.setattr(Tokenizer, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared(backbone, tmp_path / "halves")
    assert not list((tmp_path / "halves/data").glob("*"))
    halves = prepared(backbone, tmp_path / "halves")
    assert calls == [1000, 600, 600, 400]
    assert {file.name: file.read_bytes() for file in halves.iterdir()} == {
        file.name: file.read_bytes() for file in whole.iterdir()
    }
    assert not list((tmp_path / "halves/preparing").rglob("*.arrow"))


def test_portions_do_not_decide_tokens(
    backbone: Backbone, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "CALL_CHARACTERS", 100)
    other = prepared(backbone, tmp_path / "other")
    assert (whole / "train.arrow").read_bytes() == (other / "train.arrow").read_bytes()


def test_the_digest_is_that_of_the_parquet_file_of_old(whole: Path, tmp_path: Path) -> None:
    file = whole / "train.arrow"
    table = pyarrow.ipc.open_file(file).read_all()
    assert table.num_rows == 1600
    columns = {field.name: pa.array(table.column(field.name).to_pylist(), field.type) for field in table.schema}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet", compression="zstd")
    assert rows_digest(file) == hashlib.sha256((tmp_path / "train.parquet").read_bytes()).hexdigest()


def test_more_tokens_are_digested_block_by_block(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = whole / "train.arrow"
    as_one = rows_digest(file)
    monkeypatch.setattr(tokenize, "TABLE_TOKENS", 10)
    assert rows_digest(file) == rows_digest(file) != as_one


def test_rows_are_views_of_the_file(whole: Path) -> None:
    train = open_data(whole).train
    table = pyarrow.ipc.open_file(whole / "train.arrow").read_all()
    for row in (0, 999, 1000, 1599):
        assert train.input_ids[row].tolist() == table.column("input_ids")[row].as_py()
        assert train.targets[row] == table.column("target")[row].as_py()
    assert not train.input_ids[0].flags.writeable
    assert train.lengths == [len(ids) for ids in train.input_ids]
    with pytest.raises(IndexError):
        train.input_ids[1600]
    part = train.part([1599, 3, 1000])
    assert [ids.tolist() for ids in part.input_ids] == [train.input_ids[i].tolist() for i in (1599, 3, 1000)]
    assert part.lengths == [train.lengths[i] for i in (1599, 3, 1000)]
    assert list(part.part([2, 0]).rows) == [1000, 1599]
    assert len(train.part([])) == 0


def test_the_longest_rows_come_first_and_ties_stay_in_order() -> None:
    ids = pa.chunked_array([[[1], [1, 2, 3]], [[4, 5, 6], [7], [8, 9]]], pa.list_(pa.int32()))
    column = Column(ids)
    assert Split(column, column, column, column).longest_first() == [1, 2, 4, 0, 3]
    assert np.array_equal(column.lengths, [1, 3, 3, 1, 2])
