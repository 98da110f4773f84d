"""Rows of every format are read as they are, or refused by row: nothing is guessed from the look of a value."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from helpers.rows import all_rows

from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.sources import SourceSplit, read_source

HUB = DataChoice(source="hub")
# Texts that readers have taken for a missing value, a number, a date, or the end of a field or row.
TEXTS = [
    ["a", 'say "hi", ok'],
    ["NA", "two\nlines"],
    ["001", "null"],
    ["", "2020-01-02"],
    ["None", "nan"],
    ["é", "1e5"],
]
LABELS = ["neg", "pos", "neg", "pos", "neg", "pos"]
ROWS = [{"one": one, "two": two, "label": label} for (one, two), label in zip(TEXTS, LABELS, strict=True)]
TABLE = pa.Table.from_pylist(ROWS)


def task(path: Path | str, labels: tuple[str, ...] = ("neg", "pos"), **data: Any) -> Task:
    kind, metric = ("classification", "accuracy") if labels else ("regression", "pearson")
    columns = {"text": ["one", "two"], "target": "label"}
    data = {"files": {"train": str(path), "dev": str(path)}, "columns": columns, **data}
    return Task.model_validate({"name": "own", "kind": kind, "labels": list(labels), "metrics": [metric], "data": data})


def train(path: Path | str, labels: tuple[str, ...] = ("neg", "pos"), **data: Any) -> SourceSplit:
    return read_source(task(path, labels, **data), HUB, None).splits["train"]


def in_csv(separator: str = ",", line_end: str = "\r\n", *, always: bool = False) -> str:
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if always else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=separator, lineterminator=line_end, quoting=quoting)
    writer.writerows([ROWS[0].keys(), *(row.values() for row in ROWS)])
    return text.getvalue()


def in_lines(end: str = "\n") -> str:
    return end.join(json.dumps(row, ensure_ascii=False) for row in ROWS)


def in_parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


def in_arrow(new: Callable[..., Any]) -> bytes:
    sink = io.BytesIO()
    with new(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def flipped(content: bytes) -> bytes:
    """An Arrow file in which the end of the first text, 1, is another."""
    ends = pa.array([len(one) for one, _ in TEXTS]).to_numpy().cumsum().astype("int32").tobytes()
    return content.replace(ends[:8], b"\xff\xff\xff\x7f" + ends[4:8], 1)


def zipped(members: dict[str, str | bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return sink.getvalue()


def write(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("x.parquet", in_parquet(), {}),
        ("x.parquet.gz", gzip.compress(in_parquet(), mtime=0), {}),
        ("x.arrow", in_arrow(pa.ipc.new_file), {}),
        ("stream.arrow", in_arrow(pa.ipc.new_stream), {}),
        ("x.arrow.xz", lzma.compress(in_arrow(pa.ipc.new_stream)), {}),
        ("x.csv", in_csv(), {}),
        ("X.CSV", in_csv(line_end="\n"), {}),
        ("mark.csv", in_csv().encode("utf-8-sig"), {}),
        ("16.csv", in_csv().encode("utf-16"), {}),
        ("16be.csv", b"\xfe\xff" + in_csv().encode("utf-16-be"), {}),
        ("32.csv", in_csv().encode("utf-32"), {}),
        ("unmarked.csv", in_csv().encode("utf-16-le"), {"encoding": "UTF-16LE"}),
        ("latin.csv", in_csv().encode("latin-1"), {"encoding": "latin-1"}),
        ("semicolons.csv", in_csv(";"), {}),
        ("excel.csv", "sep=;\r\n" + in_csv(";"), {}),
        ("gaps.csv", "\n" + in_csv().replace("\r\n", "\r\n\r\n") + "\n", {}),
        ("x.tsv", in_csv("\t"), {"quotes": True}),
        ("quoted.tsv", in_csv("\t", always=True), {}),
        ("x.csv.gz", gzip.compress(in_csv().encode(), mtime=0), {}),
        ("x.csv.bz2", bz2.compress(in_csv().encode()), {}),
        ("x.csv.zst", pa.compress(in_csv().encode(), codec="zstd", asbytes=True), {}),
        ("x.zip", zipped({"x.csv": in_csv()}), {}),
        ("x.csv.zip", zipped({"in/x.csv": in_csv(), "README.md": "rows", "__MACOSX/x.csv": "?"}), {}),
        ("parquet.zip", zipped({"x.parquet": in_parquet()}), {}),
        ("x.jsonl", in_lines(), {}),
        ("x.ndjson.gz", gzip.compress(in_lines("\r\n").encode("utf-8-sig"), mtime=0), {}),
        ("lines.json", in_lines() + "\n\n", {}),
        ("x.json", json.dumps(ROWS, indent=1), {}),
        ("nested.json", json.dumps({"version": [1], "data": ROWS, "more": {}}), {"field": "data"}),
    ],
)
def test_values_are_what_they_are(tmp_path: Path, name: str, content: str | bytes, options: dict[str, Any]) -> None:
    rows = all_rows(train(write(tmp_path, name, content), **options))
    assert rows.texts == TEXTS
    assert rows.targets == [0, 1, 0, 1, 0, 1]
    assert rows.numbers == [0, 1, 2, 3, 4, 5]


HEAD = "one,two,label\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("few.csv", HEAD + "a,b,neg\na,neg\n", r"few\.csv, line 3: expected 3 fields as in the header, found 2"),
        ("many.csv", HEAD + "a,b,neg,c\n", r"many\.csv, line 2: expected 3 fields as in the header, found 4"),
        ("open.csv", HEAD + 'a,b,neg\na,"b,neg\nc,d,pos\n', r"open\.csv, line 3: unexpected end.*quotes: false"),
        ("mid.csv", HEAD + 'a,"b"c,neg\n', r"mid\.csv, line 2: .*quotes: false"),
        ("open.tsv", 'one\ttwo\tlabel\n"a\tb\tneg\nc"\td\tneg\n', r"open\.tsv, line 2: a quote .*`quotes: true`"),
        ("raw.tsv", 'one\ttwo\tlabel\n"a"\tb\tneg\n', r'raw\.tsv, line 2: the field "a" is in quotes.*`quotes: true`'),
        ("twice.csv", "one,two,label,one\na,b,neg,c\n", r"column 'one' is there 2 times"),
        ("headless.csv", "a,b,neg\n", r"expected the column 'label' in the header, found a, b, neg"),
        ("latin.csv", HEAD.encode() + b"a,b,neg\na,\xe9,neg\n", r"line 3, byte 3 of the line.*encoding: cp1252"),
        ("16.csv", (HEAD + "a,b,neg\n").encode("utf-16-le"), r"NUL bytes.*encoding: utf-16-le"),
        ("zeros.csv", HEAD + "a,b,neg\n\0\0,\0,neg\n", r"line 3: holds a NUL byte"),
        ("cut.csv.gz", gzip.compress(in_csv().encode(), mtime=0)[:-9], r"cut\.csv\.gz: no readable gz file"),
        ("cut.parquet", in_parquet()[:-20], r"cut\.parquet: no readable parquet file"),
        ("cut.arrow", in_arrow(pa.ipc.new_stream)[:-300], r"cut\.arrow: no readable arrow file"),
        ("flipped.arrow", flipped(in_arrow(pa.ipc.new_stream)), r"flipped\.arrow: no readable arrow file"),
        ("cut.jsonl", in_lines()[:-5], r"cut\.jsonl, line 6: the file ends in the middle"),
        ("cut.json", json.dumps(ROWS, indent=1)[:-2], r"cut\.json, line \d+: the file ends in the middle"),
        ("bad.jsonl", in_lines() + "\n{'one': 1}\n", r"bad\.jsonl, line 7: no JSON: Expecting property name"),
        ("list.jsonl", '["a", "b", "neg"]\n', r"line 1: expected an object with the column"),
        ("lacks.jsonl", in_lines() + '\n{"one": "a", "label": "neg"}', r"line 7: expected the column 'two', found one"),
        ("twice.jsonl", '{"one": "a", "two": "b", "two": "c", "label": "neg"}', r"key 'two' is there twice"),
        (
            "mixed.jsonl",
            in_lines() + '\n{"one": 5, "two": "b", "label": "neg"}',
            r"row 6: column 'one' .*found 5.*line 7",
        ),
        ("digits.jsonl", '{"one": "a", "two": "b", "label": ' + "1" * 5000 + "}", r"digits\.jsonl, line 1: no JSON"),
        ("half.jsonl", '{"one": "\\ud800", "two": "b", "label": "neg"}', r"row 0: .*surrogate"),
        ("field.json", json.dumps({"data": ROWS}), r"say `field: data`"),
        ("several.zip", zipped({"a.csv": "x", "b.csv": "x"}), r"one file of rows in the archive, found a\.csv, b\.csv"),
        ("pointer.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", r"pointer of Git LFS"),
        ("page.parquet", "<!DOCTYPE html><html></html>", r"page\.parquet: is a web page"),
        ("zero.csv", "", r"zero\.csv: is empty \(0 bytes\)"),
        ("zero.jsonl.gz", gzip.compress(b"", mtime=0), r"zero\.jsonl\.gz: is empty"),
        ("packed.csv", gzip.compress(b"x", mtime=0), r"packed\.csv: is not csv, as its name says, but gz"),
        ("text.parquet", in_csv(), r"text\.parquet: is not parquet, as its name says"),
        ("x.xlsx", b"PK\x03\x04", r"x\.xlsx is of no format that is read"),
        ("label.csv", HEAD + "a,b,Neg\n", r"row 0: column 'label' .*did you mean 'neg'.*label\.csv, line 2"),
        ("zeroed.csv", HEAD + "a,b,01\n", r"row 0: column 'label' should hold 0 to 1 .*found '01'"),
    ],
)
def test_what_can_not_be_read_is_refused_by_row(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        train(write(tmp_path, name, content))


def test_quotes_can_mean_nothing(tmp_path: Path) -> None:
    file = write(tmp_path, "raw.tsv", 'one\ttwo\tlabel\n"a\tb\tneg\nc"\td\tpos\n')
    assert all_rows(train(file, quotes=False)).texts == [['"a', "b"], ['c"', "d"]]


@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        (("neg", "pos"), [1, 0.0, "neg", "1", True, "0.0"], [1, 0, 0, 1, 1, 0]),
        (("1", "2", "3"), [1, "3", 2.0], [0, 2, 1]),  # labels that are numbers are meant by numbers
        (("-1", "1"), [-1, "1", -1.0], [0, 1, 0]),
        ((), [1, "-2e1", ".5"], [1.0, -20.0, 0.5]),
    ],
)
def test_targets_by_name_by_index_and_as_numbers(
    tmp_path: Path, labels: tuple[str, ...], values: list[Any], expected: list[Any]
) -> None:
    lines = [json.dumps({"one": "a", "two": "b", "label": value}) for value in values]
    assert all_rows(train(write(tmp_path, "x.jsonl", "\n".join(lines)), labels)).targets == expected


@pytest.mark.parametrize(
    ("labels", "value"),
    [
        (("1", "2"), 0),
        (("neg", "pos"), 10**400),
        (("neg", "pos"), "1" * 400),
        ((), 10**400),
        (("neg", "pos"), 0.5),
        ((), "inf"),
        ((), "1_0"),
        ((), True),
    ],
)
def test_other_targets_are_refused(tmp_path: Path, labels: tuple[str, ...], value: Any) -> None:
    line = json.dumps({"one": "a", "two": "b", "label": value})
    with pytest.raises(BenchError, match=r"row 0: column 'label' should hold"):
        train(write(tmp_path, "x.jsonl", line), labels)


def test_fields_of_nested_columns(tmp_path: Path) -> None:
    rows = [{"pair": {"en": "a", "de": "b"}, "label": 1}]
    columns = {"text": ["pair.en", "pair.de"], "target": "label"}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    write(tmp_path, "x.jsonl", json.dumps(rows[0]))
    for name in ("x.parquet", "x.jsonl"):
        assert all_rows(train(tmp_path / name, columns=columns)).texts == [["a", "b"]]
    wrong = {"text": ["pair.en", "pair.dee"], "target": "label"}
    with pytest.raises(BenchError, match=r"field 'dee'.*did you mean 'de'"):
        train(tmp_path / "x.parquet", columns=wrong)


def test_rows_without_a_target_are_counted_and_left_out_on_demand(tmp_path: Path) -> None:
    file = write(tmp_path, "x.csv", HEAD + "a,b,neg\nc,d,-1\ne,f,\ng,h,pos\n")
    with pytest.raises(
        BenchError, match=r"row 1: column 'label' holds '-1': 2 of 4 rows are unlabeled.*drop_unlabelled"
    ):
        train(file)
    split = train(file, drop_unlabelled=True)
    rows = all_rows(split)
    assert (rows.numbers, rows.targets, split.dropped) == ([0, 3], [0, 1], 2)
    with pytest.raises(BenchError, match="all others: the split is unlabeled"):
        train(write(tmp_path, "test.csv", HEAD + "a,b,-1\nc,d,-1\n"), drop_unlabelled=True)


def test_blocks_are_short_whatever_the_file_has(tmp_path: Path) -> None:
    many = pa.table({"one": [f"{i}" for i in range(2500)], "two": ["b"] * 2500, "label": [0] * 2500})
    pq.write_table(many, tmp_path / "x.parquet", row_group_size=2500)
    with pa.ipc.new_file(tmp_path / "x.arrow", many.schema) as writer:
        writer.write_table(many)
    write(tmp_path, "x.csv", HEAD + "".join(f"{i},b,0\n" for i in range(2500)))
    for name in ("x.parquet", "x.arrow", "x.csv"):
        choice = DataChoice(source="hub", train_rows=2400)
        split = read_source(task(tmp_path / name), choice, None).splits["train"]
        blocks = list(split.blocks())
        assert max(len(block.targets) for block in blocks) <= 1000
        rows = all_rows(split)
        assert len(rows.targets) == len(split) == 2400
        assert rows.texts == [[str(number), "b"] for number in rows.numbers]
