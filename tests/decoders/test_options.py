"""The options of multiple-choice rows as files have them, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.rows import all_rows
from helpers.small_cells import Lab
from pydantic import ValidationError

from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.cell import DataChoice
from bench.config.data import Columns, Data
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.sources import read_source
from bench.inputs.targets import target
from bench.training.done import inputs_of
from bench.training.record_parts import common_parts

ROW = {"question": "Who?", "choices": {"text": ["the baker", "a doctor", "her brother"], "label": ["A", "B", "C"]}}


def read(folder: Path, rows: list[dict[str, Any]], name: str = "arc_easy", **columns: Any) -> Any:
    """The rows of a file in `folder`, read for the task `name` with these columns in place of its own."""
    return all_rows(read_source(task_of(folder, rows, name, **columns), DataChoice(source="hub"), None).splits["test"])


def task_of(folder: Path, rows: list[dict[str, Any]], name: str = "arc_easy", **columns: Any) -> Task:
    """The task `name` with these columns in place of its own, and a file in `folder` for training and evaluation."""
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_catalog(WORKFLOW).tasks[name].item
    named = {**task.data.columns.model_dump(exclude_none=True), **columns}
    files = {"train": [str(file)], "test": [str(file)]}
    data = Data(
        files=files,
        columns={key: value for key, value in named.items() if value is not None},
        class_names=task.data.class_names,
    )
    # As a file of the task would have it.
    return Task(**{**task.model_dump(exclude_defaults=True), "data": data.model_dump(exclude_defaults=True)})


def test_options_in_a_list_with_names(tmp_path: Path) -> None:
    rows = read(tmp_path, [{**ROW, "answerKey": "B"}, {**ROW, "answerKey": "A"}])
    assert rows.options == [ROW["choices"]["text"]] * 2
    assert rows.targets == [1, 0]


def test_options_in_a_list_by_index(tmp_path: Path) -> None:
    rows = read(tmp_path, [{**ROW, "answerKey": 2}, {**ROW, "answerKey": "0"}], option_names=None)
    assert rows.targets == [2, 0]
    gaps = read(tmp_path, [{**ROW, "answerKey": 1.0}], option_names=None)  # as pandas writes a column with gaps
    assert gaps.targets == [1]


def test_options_in_columns_of_their_own(tmp_path: Path) -> None:
    row = {"question": "Which?", "sol1": "this", "sol2": "that", "answerKey": 1}
    rows = read(tmp_path, [row], options=["sol1", "sol2"], option_names=None)
    assert (rows.options, rows.targets) == ([["this", "that"]], [1])


def test_options_whose_names_the_task_gives(tmp_path: Path) -> None:
    """Winogrande and Social IQa count from 1, RACE names its options A to D and has no column of these names."""
    row = {"question": "Which?", "option1": "this", "option2": "that"}
    named = {"options": ["option1", "option2"], "option_names": ["1", "2"]}
    assert read(tmp_path, [{**row, "answerKey": "1"}, {**row, "answerKey": 2}], **named).targets == [0, 1]
    rows = [{"question": "Who?", "options": ["she", "he", "it"], "answerKey": letter} for letter in "CA"]
    assert read(tmp_path, rows, options="options", option_names=["A", "B", "C", "D"]).targets == [2, 0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"options": ["a", "b"], "option_names": ["1", "2", "3"]}, "expected one name for each of 2 options"),
        ({"options": "a", "option_names": ["1", "1"]}, "option_names repeat"),
        ({"option_names": ["1", "2"]}, "what the data call `labels` is said by `class_names`"),
        ({"options": ["a", "b"], "option_names": "names"}, "the column of the row's options"),
    ],
)
def test_names_of_options_that_fit_no_options(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Columns(text=["q"], target="y", **columns)


def test_the_same_options_for_every_row(tmp_path: Path) -> None:
    rows = read(tmp_path, [{"passage": "It rains.", "question": "is it wet", "answer": True}], "boolq")
    assert (rows.texts, rows.options, rows.targets) == ([["It rains.", "is it wet"]], [["no", "yes"]], [1])


@pytest.mark.parametrize(
    ("labels", "targets"),
    [
        (["true", "false"], [0, 1]),
        (["False", "True"], [1, 0]),
        (["yes", "no"], [0, 1]),
        (["no", "maybe", "yes"], [2, 0]),
        (["1", "0"], [0, 1]),
        (["different", "equal"], [1, 0]),  # named after nothing: as numbers, 0 and 1
    ],
)
def test_booleans_are_the_labels_that_say_so(labels: list[str], targets: list[int]) -> None:
    data = {"hub": "a/b", "columns": {"text": ["t"], "target": "y"}}
    task = Task(name="t", kind="classification", data=data, labels=labels, metrics=["accuracy"])
    assert [target(task, value) for value in (True, False)] == targets


def with_options(*options: str, answer: int) -> dict[str, Any]:
    return {**ROW, "choices": {"text": [*options], "label": [*"ABCD"[: len(options)]]}, "answerKey": "ABCD"[answer]}


def test_a_row_with_equal_options_is_used_unless_the_right_one_is_among_them(tmp_path: Path) -> None:
    repeated = with_options("a", "b", "a", answer=2)
    rows = [with_options("a", "b", "a", answer=1), repeated, with_options("a", "b", answer=0), repeated]
    found = read(tmp_path, rows)
    assert (found.numbers, found.targets, found.options[0]) == ([0, 2], [1, 0], ["a", "b", "a"])
    columns = {"question": "Which?", "sol1": "this", "sol2": "this", "answerKey": 1}
    both = {"options": ["sol1", "sol2"], "option_names": None}
    assert read(tmp_path, [columns, {**columns, "sol2": "that"}], **both).numbers == [1]


@pytest.mark.parametrize("limit", [3, 7, 20])
def test_a_limit_counts_the_rows_that_are_used(tmp_path: Path, limit: int) -> None:
    """And they are those that it chose before, in the same order, without the rows that are left out."""
    sound = with_options("a", "b", answer=0)
    choice = DataChoice(source="hub", train_rows=limit, evaluation_rows=limit)

    def numbers(rows: list[dict[str, Any]]) -> dict[str, list[int]]:
        splits = read_source(task_of(tmp_path, rows), choice, None).splits
        return {name: all_rows(split).numbers for name, split in splits.items()}

    plain = numbers([sound] * 12)
    out = {plain["train"][0], 1}
    found = numbers([with_options("a", "a", answer=0) if i in out else sound for i in range(12)])
    for name, wanted in plain.items():
        assert not out & set(found[name])
        assert len(found[name]) == min(limit, 12 - len(out))
        assert set(wanted) - out <= set(found[name])


def test_log_manifest_and_notes_say_how_many_were_left_out(
    shared_choices: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [with_options("a", "b", answer=0), *[with_options("a", "a", "b", answer=1)] * 2]
    cell = shared_choices.cell("lora")
    task = task_of(tmp_path, rows).model_copy(update={"recipe": cell.recipe})
    cell = cell.model_copy(update={"task": task, "data": DataChoice(source="hub")})
    lab = replace(shared_choices, cache=tmp_path / "cache")
    with caplog.at_level("INFO", logger="bench"):
        lab.prepare(cell)
    said = "2 rows were left out, where another option has the text of the right one"
    assert f"split 'test': {said}" in caplog.text
    said_by_record = common_parts(cell, inputs_of(cell, lab.cache, None), torch.device("cpu"))
    assert said_by_record["data"]["dropped_repeated"] == {"train": 2, "test": 2}
    assert {f"train: {said}", f"test: {said}"} <= set(said_by_record["notes"])


@pytest.mark.parametrize(
    ("changes", "columns", "message"),
    [
        ({"answerKey": "D"}, {}, "row 0: column 'answerKey' should hold one of A, B, C, found 'D'"),
        ({"answerKey": 3}, {"option_names": None}, "should hold the index of an option, 0 to 2, found 3"),
        (
            {"answerKey": 3},
            {"option_names": None},
            "options that are counted from 1 or called A, B, ... need `option_names`",
        ),
        ({}, {"option_names": ["A", "B"]}, "should be one of 3 names, but `option_names` has 2"),
        ({"answerKey": "C"}, {"option_names": ["0", "1", "2", "3"]}, "should hold one of 0, 1, 2, found 'C'"),
        ({"answerKey": True}, {"option_names": None}, "should hold the index of an option, 0 to 2, found True"),
        ({"answerKey": "B"}, {"option_names": None}, "called A, B, ... need `option_names`"),
        ({}, {"options": "choices", "option_names": None}, "a field of it is named with a dot"),
        ({"choices": {"text": ["one"], "label": ["A"]}}, {}, "column 'choices.text' should hold a list of at least 2"),
        ({"choices": {"text": "one", "label": ["A"]}}, {}, "column 'choices.text' should hold a list of at least 2"),
        ({"choices": {"text": ["a", " "], "label": ["A", "B"]}}, {}, "holds an option that is empty"),
        (
            {"choices": {"text": ["a", "a"], "label": ["A", "B"]}},
            {},
            "split 'train': in every row another option has the text of the right one",
        ),
        ({"choices": {"text": ["a", 1], "label": ["A", "B"]}}, {}, "column 'choices.text' should hold a text, found 1"),
        ({"choices": {"text": ["a", "b"], "label": ["A"]}}, {}, "should be one of 2 names"),
        ({}, {"options": "choice.text"}, "expected the column 'choice.text'"),
    ],
)
def test_rows_that_can_not_be_used(
    tmp_path: Path, changes: dict[str, Any], columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        read(tmp_path, [{**ROW, "answerKey": "A", **changes}], **columns)
