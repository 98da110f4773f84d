"""A task that is trained on one data set and evaluated on another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.rows import all_rows
from pydantic import ValidationError

from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.cell import DataChoice
from bench.config.data import Data
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.origin import files_of_data
from bench.inputs.sources import read_source

HUB = DataChoice(source="hub")


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    rows = {
        "meta-math/MetaMathQA/train.jsonl": {"query": "1 + 1?", "response": "The answer is: 2"},
        "openai/gsm8k/main/test.jsonl": {"question": "2 + 2?", "answer": "#### 4"},
    }
    for name, row in rows.items():
        file = tmp_path / "datasets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(row) + "\n")
    return tmp_path


@pytest.fixture(scope="module")
def task() -> Task:
    return load_catalog(WORKFLOW).tasks["metamathqa"].item


def test_each_split_is_read_from_its_own_set(mirror: Path, task: Task) -> None:
    source = read_source(task, HUB, mirror)
    train, test = (all_rows(source.splits[name]) for name in ("train", "test"))
    assert (train.texts, train.targets) == ([["1 + 1?"]], ["The answer is: 2"])
    assert (test.texts, test.targets) == ([["2 + 2?"]], ["#### 4"])
    assert sorted(source.files) == ["openai/gsm8k/main/test.jsonl", "train.jsonl"]
    assert sorted(files_of_data(task, HUB, mirror)) == sorted(source.files)


def test_messages_name_the_set_that_is_wrong(mirror: Path, task: Task) -> None:
    (mirror / "datasets/openai/gsm8k/main/test.jsonl").write_text('{"question": "2 + 2?", "result": "4"}\n')
    with pytest.raises(BenchError, match=r"data set openai/gsm8k, split 'test'.*expected the column 'answer'"):
        read_source(task, HUB, mirror)
    (mirror / "datasets/openai/gsm8k/main/test.jsonl").unlink()
    (mirror / "datasets/openai/gsm8k/main").rmdir()
    (mirror / "datasets/openai/gsm8k").rmdir()
    with pytest.raises(BenchError, match="the mirror has no data set openai/gsm8k"):
        read_source(task, HUB, mirror)


def test_both_sets_have_the_same_columns_or_as_many(task: Task) -> None:
    known = task.data.model_dump(exclude_defaults=True)
    other = {"hub": "openai/gsm8k", "columns": {"text": ["question", "hint"], "target": "answer"}}
    with pytest.raises(ValidationError, match=r"as many columns as the training set has, \['query'\], found"):
        Data(**{**known, "evaluation_from": other})
    same = Data(**{**known, "evaluation_from": {"hub": "openai/gsm8k"}})
    assert same.for_evaluation.columns == same.columns
    files = {"files": {"train": ["a.csv"], "test": ["b.csv"]}, "columns": known["columns"]}
    with pytest.raises(ValidationError, match="name the other files in `files`"):
        Data(**files, evaluation={"test": "test"}, evaluation_from={"hub": "openai/gsm8k"})
