"""What a data set's README lists and declares: files per split, numbers of rows, class names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.config.data import Data
from bench.errors import BenchError
from bench.inputs.locate.dataset_card import Card, read_card
from bench.inputs.locate.split_files import files_of_split

COLUMNS = {"text": ["text"], "target": "label"}


def card(folder: Path, front: str) -> Card:
    (folder / "README.md").write_text(f"\ufeff---\n{front}\n---\nText\n")
    return read_card(folder)


def found(names: list[str], listed: Card) -> list[str]:
    data = Data.model_validate({"hub": "own/set", "config": "c", "columns": COLUMNS})
    return files_of_split(sorted(names), listed, data, "train", "FOLDER")


def listing(*paths: str) -> str:
    files = ", ".join(f'{{split: train, path: "{path}"}}' for path in paths)
    return f"configs: [{{config_name: c, data_files: [{files}]}}]"


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        (listing("a/*.csv"), ["a/1.csv", "a/2.csv"]),
        (listing("a/2.csv", "a/1.csv"), ["a/2.csv", "a/1.csv"]),
        (listing("**/3.csv"), ["a/b/3.csv"]),
        ("configs: [{config_name: c, data_files: a/1.csv}]", ["a/1.csv"]),
        ("configs: [{config_name: c, data_files: [a/1.csv, a/2.csv]}]", ["a/1.csv", "a/2.csv"]),
        (
            "configs: [{config_name: c, data_dir: a/b, sep: ';', data_files: [{split: train, path: 3.csv}]}]",
            ["a/b/3.csv"],
        ),
        ("configs: [{config_name: c, data_dir: d}]", ["d/train.csv"]),
        (listing("a/1.csv", "a/9.csv"), r"README\.md lists 'a/9\.csv', and no file is called so"),
        (listing("../a/1.csv"), "leaves the data set's folder"),
        (listing("https://example.org/1.csv"), "leaves the data set's folder"),
        (listing("s/train-*"), "1 of 2 shards is missing"),
        ("configs: [{config_name: c, data_files: a/1.csv, names: [x, y]}]", "`names: .*is not supported"),
        ("configs: [{config_name: other, data_files: a/1.csv}]", "no config 'c': `config` should be one of other"),
    ],
)
def test_a_readme_lists_the_files(tmp_path: Path, front: str, expected: list[str] | str) -> None:
    names = ["a/1.csv", "a/2.csv", "a/b/3.csv", "d/train.csv", "s/train-00000-of-00002.csv"]
    if isinstance(expected, list):
        assert found(names, card(tmp_path, front)) == expected
    else:
        with pytest.raises(BenchError, match=expected):
            found(names, card(tmp_path, front))


@pytest.mark.parametrize(
    "front",
    [
        "configs: 5",
        "configs: [{config_name: null, data_files: {train: a}}]",
        "dataset_info: [{splits: [1], features: [a, {name: label, dtype: {class_label: {names: {x: y}}}}]}]",
        "date: 2020-99-99",
        "[" * 2000,
        "a: &a [*a]",
    ],
)
def test_a_readme_that_says_nothing_sensible_is_passed_over(tmp_path: Path, front: str) -> None:
    found_card = card(tmp_path, front)
    data = Data.model_validate({"hub": "own/set", "columns": COLUMNS})
    assert found_card.rows(data, "train") is None
    assert found_card.class_names(data, "label") is None
