"""The audit of published numbers finds what is planted in a ledger, and refuses a malformed one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from bench.analysis.reference.audit import Audit, audit_ledger
from bench.analysis.reference.ledger import COLUMNS
from bench.cli.app import main

FIRST = {"mnli": "matched", "sst2": "validation", "cola": "validation", "qqp": "validation", "stsb": "validation"}
SCORES = {"mnli": 90.1, "sst2": 95.33, "cola": 70.04, "qqp": 91.78}
Line = dict[str, str]


def lines(source: str, scores: dict[str, float], **fields: str) -> list[Line]:
    """One line per score, in the form in which the ledger holds them."""
    blank = dict.fromkeys(COLUMNS, "")
    return [
        blank
        | {"source": source, "table": "table 1", "task": task, "metric": "accuracy", "method": "lora"}
        | {"budget": "small", "value": f"{value:.2f}", "unit": "percent", "quality": "primary"}
        | fields
        for task, value in scores.items()
    ]


def average(value: float, source: str, tasks: int = 4, **fields: str) -> Line:
    """The line of a printed average."""
    (line,) = lines(source, {f"mean of {tasks} tasks": value}, **{"metric": "mean", **fields})
    return line


def write(folder: Path, rows: list[Line], name: str = "ledger") -> Path:
    file = folder / f"{name}.csv"
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return file


def audit(folder: Path, rows: list[Line]) -> Audit:
    return audit_ledger([write(folder, rows)], FIRST)


def test_a_copied_row_is_found_and_the_earlier_source_is_its_origin(tmp_path: Path) -> None:
    found = audit(tmp_path, [*lines("Later 2025", SCORES), *lines("First 2023", SCORES), *lines("Apart", SCORES)])
    assert [(copy.row.head.source, copy.origin.head.source, len(copy.equal)) for copy in found.copies] == [
        ("Later 2025", "First 2023", 4),
        ("Apart", "First 2023", 4),  # without a year, so later than both
    ]
    assert not any(copy.declared or copy.different for copy in found.copies)


def test_rows_of_other_methods_backbones_and_one_source_are_no_copies(tmp_path: Path) -> None:
    rows = [
        *lines("First 2023", SCORES),
        *lines("First 2023", SCORES, table="table 2"),
        *lines("Later 2025", SCORES, method="pissa"),
        *lines("Later 2025", SCORES, backbone="roberta-base"),
        *lines("Later 2024", {**SCORES, "mnli": 1.0, "sst2": 2.0}),  # two numbers may agree by chance
    ]
    assert not audit(tmp_path, rows).copies


def test_a_mixed_row_is_found_with_its_cells(tmp_path: Path) -> None:
    rows = [*lines("First 2023", SCORES), *lines("Later 2025", {**SCORES, "cola": 63.56})]
    (mixed,) = audit(tmp_path, rows).mixed
    assert [(here.task, here.points, there.points) for here, there in mixed.different] == [("cola", 63.56, 70.04)]
    assert len(mixed.equal) == 3


def test_a_declared_copy_is_compared_however_little_agrees(tmp_path: Path) -> None:
    other = {task: value - 1 for task, value in SCORES.items()}
    declared = lines("Later 2025", {**other, "mnli": 90.1}, copied_from="mixed: First 2023, table 1")
    (mixed,) = audit(tmp_path, [*lines("First 2023", SCORES), *declared]).mixed
    assert (mixed.declared, len(mixed.equal), len(mixed.different)) == (True, 1, 3)


def test_fractions_and_fewer_decimals_are_the_same_number(tmp_path: Path) -> None:
    rows = lines("First 2023", SCORES)
    fractions = lines("Later 2025", {}) + [
        line | {"source": "Later 2025", "unit": "fraction", "value": value}
        for line, value in zip(rows, ["0.901", "0.953", "0.7004", "0.9177"], strict=True)
    ]
    (copy,) = audit(tmp_path, [*rows, *fractions]).copies
    assert [here.task for here, _ in copy.equal] == ["mnli", "sst2", "cola"]


def test_a_correlation_that_is_not_named_is_held_against_the_one_that_is(tmp_path: Path) -> None:
    scores = {"stsb": 91.6}
    rows = [*lines("First 2023", SCORES), *lines("First 2023", scores, metric="mean_correlation")]
    rows += [*lines("Later 2025", SCORES), *lines("Later 2025", scores, metric="correlation")]
    (copy,) = audit(tmp_path, rows).copies
    assert (len(copy.equal), copy.shared) == (5, 5)


@pytest.mark.parametrize(
    ("split", "f1", "printed", "fits"),
    [
        # (90.10 + 95.33 + 70.04 + 91.78) / 4 = 86.8125, each rounded by at most 0.005
        (None, None, "86.81", ["one value per task"]),
        (None, None, "86.82", ["one value per task"]),
        (None, None, "86.84", []),
        (None, None, "86.9", []),
        (None, None, "86.8", ["one value per task"]),
        # mismatched 92.10 makes MNLI 91.10 and the mean 87.0625; F1 89.78 makes QQP 90.78 and the mean 86.5625
        (92.1, None, "87.06", ["mnli=mean"]),
        (92.1, None, "86.81", ["mnli=matched"]),
        (None, 89.78, "86.56", ["qqp=mean"]),
        (92.1, 89.78, "86.81", ["mnli=matched; qqp=accuracy", "mnli=mean; qqp=mean"]),
        (92.1, 89.78, "87.06", ["mnli=mean; qqp=accuracy"]),
    ],
)
def test_the_rule_of_an_average(
    tmp_path: Path, split: float | None, f1: float | None, printed: str, fits: list[str]
) -> None:
    rows = [*lines("First 2023", SCORES), average(0, "First 2023") | {"value": printed}]
    rows += lines("First 2023", {"mnli": split}, split="mismatched") if split else []
    rows += lines("First 2023", {"qqp": f1}, metric="f1") if f1 else []
    found = audit(tmp_path, rows)
    assert list(found.averages[0].fits) == fits
    assert bool(found.unexplained) == (not fits)


@pytest.mark.parametrize(("metric", "printed"), [("pearson", 80.0), ("spearman", 78.0), ("mean", 79.0)])
def test_an_average_may_count_either_correlation_or_their_mean(tmp_path: Path, metric: str, printed: float) -> None:
    rows = [*lines("First 2023", {"sst2": 80.0}), average(printed, "First 2023", 2)]
    rows += [
        *lines("First 2023", {"stsb": 80.0}, metric="pearson"),
        *lines("First 2023", {"stsb": 76.0}, metric="spearman"),
    ]
    assert audit(tmp_path, rows).averages[0].fits == (f"stsb={metric}",)


def test_an_average_by_another_rule_than_the_declared_one_does_not_follow(tmp_path: Path) -> None:
    rows = [*lines("First 2023", SCORES), *lines("First 2023", {"mnli": 92.1}, split="mismatched")]
    wrong = audit(tmp_path, [*rows, average(86.81, "First 2023", average_rule="mnli=mean")])
    assert [check.fits for check in wrong.unexplained] == [("mnli=matched",)]
    assert not audit(tmp_path, [*rows, average(87.06, "First 2023", average_rule="mnli=mean")]).unexplained


def test_an_average_over_tasks_that_the_ledger_lacks_is_not_judged_by_those_it_has(tmp_path: Path) -> None:
    (check,) = audit(tmp_path, [*lines("First 2023", SCORES), average(86.81, "First 2023", 8)]).unexplained
    assert (check.values, check.tasks) == ({}, 4)


def test_a_copied_average_follows_from_the_row_that_it_was_copied_with(tmp_path: Path) -> None:
    rows = [*lines("First 2023", SCORES), *lines("First 2023", {"mnli": 92.1}, split="mismatched")]
    rows += [average(87.06, "First 2023"), *lines("Later 2025", SCORES), average(87.06, "Later 2025")]
    (check,) = audit(tmp_path, rows).unexplained
    assert (check.fits, check.from_origin) == ((), ("mnli=mean",))


def test_the_command_shows_what_is_planted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*lines("First 2023", SCORES), average(87.5, "First 2023")]
    write(tmp_path, [*rows, *lines("Later 2025", {**SCORES, "sst2": 94.0}, quality="secondary")])
    assert main(["reference", "--ledger", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "Later 2025, table 1: lora, small [secondary]  3 of 4 equal  found  from First 2023, table 1: lora" in text
    assert "sst2 accuracy: 94.00 for 95.33 (ledger.csv:8)" in text
    assert "First 2023, table 1: lora, small: 87.50 (ledger.csv:6)" in text
    assert "under no rule; the nearest, one value per task, gives 86.81" in text
    assert main(["reference", "--ledger", str(tmp_path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["copies"][0]["different"] == [
        {"cell": "sst2 accuracy", "here": 94.0, "there": 95.33, "at": "ledger.csv:8"}
    ]
    assert not data["averages"][0]["follows"]


def test_an_empty_audit_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, lines("First 2023", SCORES))
    assert main(["reference", "--ledger", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "Copied rows: 0" in text
    assert "Printed averages: 0" in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"task": "sst"}, "ledger.csv:2: unknown task 'sst' (did you mean 'sst2'?)"),
        ({"value": "95,8"}, "ledger.csv:2: value '95,8' is no number"),
        ({"value": "nan"}, "ledger.csv:2: value 'nan' is no number"),
        ({"unit": "points of 100"}, "ledger.csv:2: unit 'points of 100': expected one of points, percent"),
        ({"metric": "perplexity"}, "unit 'percent' of perplexity: expected value"),
        ({"metric": "mcc", "unit": "value"}, "unit 'value' of mcc: expected one of points, percent, %, fraction"),
        ({"quality": "secundary"}, "ledger.csv:2: quality 'secundary': expected one of primary, secondary"),
        ({"quality": "secundary"}, "(did you mean 'secondary'?)"),
        ({"protocol": "best"}, "ledger.csv:2: protocol 'best': expected one of last, best on dev, not said"),
        ({"average_rule": "mnli"}, "ledger.csv:2: average_rule: 'mnli' is no part of a rule: expected TASK=SCORE"),
        ({"average_rule": "mnli=match"}, "ledger.csv:2: average_rule: unknown score 'match' (did you mean 'matched'?)"),
        ({"method": ""}, "ledger.csv:2: column 'method' is empty"),
        ({"copied_from": "Frist 2023, table 1"}, "ledger.csv:2: copied_from 'Frist 2023, table 1': no such source"),
        ({"copied_from": "Frist 2023, table 1"}, "(did you mean 'First 2023, table 1'?)"),
        ({"copied_from": "Other 2024, table 1"}, "ledger.csv:2: copied_from 'Other 2024, table 1': has no row of the"),
        ({"copied_from": "mixed:"}, "ledger.csv:3: copied_from differs between the cells of one row"),
        ({"task": "sst2"}, "ledger.csv:3: the same number as"),
    ],
)
def test_a_malformed_line_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Line, expected: str
) -> None:
    rows = lines("Later 2025", SCORES, copied_from="First 2023, table 1")
    if "copied_from" not in change:
        rows = lines("Later 2025", SCORES)
    rows[0] |= change
    if change.get("copied_from", "").startswith(("Frist", "Other")):
        rows = [row | change for row in rows]
    rows += [*lines("First 2023", SCORES), *lines("Other 2024", SCORES, method="dora")]
    write(tmp_path, rows)
    assert main(["reference", "--ledger", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"source,table\nFirst,table 1\n", "ledger.csv:1: column 'task' is missing; expected source, table, task"),
        (",".join([*COLUMNS, "qualty"]).encode(), "ledger.csv:1: unknown column 'qualty' (did you mean 'quality'?)"),
        (",".join(COLUMNS).encode() + b"\nFirst,table 1\n", "ledger.csv:2: has more or fewer fields than the file"),
        (",".join(COLUMNS).encode() + b"\n" + b"a," * 30, "ledger.csv:2: has more or fewer fields than the file"),
        (b"", "ledger.csv:1: column 'source' is missing"),
        (b"\xff\xfe\x00", "ledger.csv: is no text in UTF-8"),
        (",".join(COLUMNS).encode() + b'\n"never closed', "ledger.csv:2: is no CSV"),
    ],
)
def test_a_malformed_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, expected: str
) -> None:
    (tmp_path / "ledger.csv").write_bytes(content)
    assert main(["reference", "--ledger", str(tmp_path)]) == 2
    assert expected in capsys.readouterr().err


def test_every_fault_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, lines("First 2023", SCORES, unit="stars"), "a")
    write(tmp_path, lines("First 2023", SCORES, task="colla"), "b")
    assert main(["reference", "--ledger", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("unit 'stars'") == 4
    assert error.count("did you mean 'cola'?") == 4


def test_a_folder_without_files_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert main(["reference", "--ledger", str(folder)]) == 2
        assert "no CSV file in this folder" in capsys.readouterr().err
