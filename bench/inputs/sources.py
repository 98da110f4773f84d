"""Read the rows of a task: from the hub, from a mirror folder in the hub's layout, or from a generator.

Only parquet files are read. Everything about the rows is checked here, before any model is loaded: files, columns,
labels, missing texts.

The files of a split are looked up here and not by `datasets.load_dataset(folder, config)`. It refuses a folder that
holds one config of a data set whose README lists others (such as one task of GLUE), which is what a download of one
config and most mirrors are. Without a README it takes the splits of several configs for one data set. Paths and
addresses in a README may lead it out of the folder. And it serves rows from its cache when a file was replaced by one
with the same time of change.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from bench.config.cell import DataChoice
from bench.config.task import Data, Task
from bench.errors import BenchError, nearest
from bench.files import digest
from bench.inputs import synthetic
from bench.inputs.hub import fetch

# Seed of the permutation that picks the training rows where a study limits their number. It is the same for all cells,
# so that every method and seed is trained on the same rows.
ORDER_SEED = 20230310

BLOCK = 1000  # rows that are in memory at once


@dataclass(frozen=True)
class Rows:
    """Some rows of one split: a block of what `SourceSplit.blocks` reads, or all rows of a generator."""

    texts: list[list[str]]  # one or two texts per row
    targets: list[Any]  # labels, numbers or texts
    numbers: list[int]  # number of each row in the source


@dataclass(frozen=True)
class SourceSplit:
    """The rows of one split, read and checked in blocks, so that they are never all in memory."""

    task: Task
    name: str
    numbers: Sequence[int]  # numbers of the rows that are used, ascending
    read: Callable[[], Iterator[Rows]]  # all rows of the split as the source has them

    def __len__(self) -> int:
        return len(self.numbers)

    def blocks(self) -> Iterator[Rows]:
        """The rows in order, in blocks of at most BLOCK rows, read anew from the source at each call.

        Targets are as the task's kind has them. Raises BenchError at the first bad text or target.
        """
        for block in self.read():
            first = bisect_left(self.numbers, block.numbers[0])
            end = bisect_left(self.numbers, block.numbers[-1] + 1)
            at = [number - block.numbers[0] for number in self.numbers[first:end]]
            if at:
                chosen = Rows([block.texts[i] for i in at], [block.targets[i] for i in at], [*self.numbers[first:end]])
                yield _checked(self.task, self.name, chosen)
            if end == len(self.numbers):
                return


@dataclass(frozen=True)
class Source:
    """Every split of a task, whose rows were checked, and where they came from."""

    splits: dict[str, SourceSplit]
    revision: str | None
    files: dict[str, str]  # the SHA-256 of each file, by its path in the source
    synthetic: bool


def read_source(task: Task, choice: DataChoice, mirror: Path | None) -> Source:
    """Find and check the rows of `task` that `choice` asks for.

    Raises BenchError that names the data set, the split, the row, what was expected and what was found.
    """
    names = {"train": task.data.train, **task.data.evaluation}
    files: dict[str, str] = {}
    splits = {}
    revision = None
    if choice.source == "embedded":
        for name, split in names.items():
            generated = synthetic.rows(task.data.embedded or "", split)
            splits[name] = _split(task, name, choice, partial(_in_blocks, generated))
        return Source(splits, None, {}, synthetic=True)
    if mirror is not None:
        folder = _mirror_folder(mirror, task.data)
    else:
        folder, revision = _download(task.data)
    for name, split in names.items():
        parquet_files = split_files(folder, task.data, split)
        files |= {file.relative_to(folder).as_posix(): digest(file) for file in parquet_files}
        splits[name] = _split(task, name, choice, partial(_read, task, split, parquet_files))
    return Source(splits, revision, files, synthetic=False)


def _split(task: Task, name: str, choice: DataChoice, read: Callable[[], Iterator[Rows]]) -> SourceSplit:
    """A split whose rows were read once. Raises BenchError for an empty split and at the first bad row."""
    count = sum(len(block.numbers) for block in read())
    split = SourceSplit(task, name, _limited(task, name, count, choice), read)
    for _ in split.blocks():
        pass
    return split


def all_rows(split: SourceSplit) -> Rows:
    """Every row of `split` in memory, for splits that are known to be small."""
    blocks = list(split.blocks())
    return Rows(*([value for block in blocks for value in getattr(block, f.name)] for f in fields(Rows)))


def _in_blocks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows.numbers), BLOCK):
        part = slice(start, start + BLOCK)
        yield Rows(rows.texts[part], rows.targets[part], rows.numbers[part])


def split_files(folder: Path, data: Data, split: str) -> list[Path]:
    """The parquet files of a split, as the README in `folder` lists them, else by the hub's naming.

    >>> split_files(Path("mirror/datasets/nyu-mll/glue"), task.data, "train")
    [PosixPath('mirror/datasets/nyu-mll/glue/cola/train-00000-of-00001.parquet')]

    Raises BenchError where there are none, or where they are outside of `folder` or of another format.
    """
    config = data.config
    configs = _configs(folder / "README.md")
    listed = _listed(_chosen(configs, data))
    if listed:
        patterns = listed.get(split, [])
    else:
        subfolders = ([f"{config}/"] if config else []) + ["", "data/"]
        patterns = [f"{subfolder}{split}{end}.parquet" for subfolder in subfolders for end in ("-*-of-*", "")]
    files: list[Path] = []
    for pattern in patterns:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise BenchError(f"{folder / 'README.md'}: path {pattern!r} leaves the data set's folder")
        files = sorted(p for p in folder.glob(pattern) if p.is_file())
        if files:
            break
    if not files:
        where = f"data set {data.hub} ({config or 'no config'}): no parquet file of split {split!r} in {folder}"
        subfolders_with_files = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
        names = set(configs) or subfolders_with_files - {".", "data"}
        if names and config not in names and not listed:
            raise BenchError(f"{where}; `config` should be one of {', '.join(sorted(names))}")
        file_names = [path.name for path in folder.rglob("*.parquet")]
        known = set(listed) or {re.sub(r"(-\d+-of-\d+)?\.parquet$", "", name) for name in file_names}
        raise BenchError(f"{where}{nearest(split, known - {split})}")
    wrong = [path for path in files if path.suffix != ".parquet" or not path.resolve().is_relative_to(_root(folder))]
    if wrong:
        raise BenchError(f"{wrong[0]}: only parquet files inside the data set's folder are read")
    return files


def _root(folder: Path) -> Path:
    """Where files of `folder` may be: inside it, or in the hub's cache, whose snapshots hold links to its blobs."""
    folder = folder.resolve()
    return folder.parent.parent if folder.parent.name == "snapshots" else folder


def _configs(readme: Path) -> dict[str, dict[str, Any]]:
    """The entries of `configs` in the front matter of a README, by name; empty where there are none."""
    if not readme.is_file():
        return {}
    text = readme.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("---"):
        return {}
    try:
        front = yaml.safe_load(text[3:].partition("\n---")[0])
    except yaml.YAMLError:
        return {}
    entries = front.get("configs") if isinstance(front, dict) else None
    entries = entries if isinstance(entries, list) else []
    return {str(entry.get("config_name", "default")): entry for entry in entries if isinstance(entry, dict)}


def _chosen(configs: dict[str, dict[str, Any]], data: Data) -> dict[str, Any]:
    """The config whose splits are read: the one that the task names, else the default, else the only one.

    Raises BenchError where there are several and none is the default.
    """
    if data.config is not None or not configs:
        return configs.get(data.config or "", {})
    default = [entry for entry in configs.values() if entry.get("default") is True]
    if default or "default" in configs:
        return default[0] if default else configs["default"]
    if len(configs) > 1:
        names = ", ".join(sorted(configs))
        raise BenchError(f"data set {data.hub} has several configs and no default: give `config`, one of {names}")
    return next(iter(configs.values()))


def _listed(config: dict[str, Any]) -> dict[str, list[str]]:
    """The paths of each split, as a config lists them in `data_files`."""
    files = config.get("data_files")
    listed: dict[str, list[str]] = {}
    for item in files if isinstance(files, list) else []:
        if isinstance(item, dict) and "split" in item:
            path = item.get("path") or []
            listed.setdefault(str(item["split"]), [str(p) for p in (path if isinstance(path, list) else [path])])
    return listed


def _mirror_folder(mirror: Path, data: Data) -> Path:
    folder = mirror / "datasets" / data.hub
    if not folder.is_dir():
        raise BenchError(f"the mirror has no data set {data.hub}: expected the folder {folder}")
    return folder


def _download(data: Data) -> tuple[Path, str]:
    """Download the README and the parquet files of the config; return their folder and revision."""
    wanted = "*.parquet" if data.config is None else f"*{data.config}*/*.parquet"
    return fetch("dataset", data.hub, data.revision, ["README.md", wanted])


def _read(task: Task, split: str, files: Sequence[Path]) -> Iterator[Rows]:
    """All rows of `files`. Raises BenchError where one is no parquet file or lacks a column of the task."""
    import pyarrow
    import pyarrow.parquet

    columns = [*task.data.columns.text, task.data.columns.target]
    number = 0
    for file in files:
        try:
            parquet = pyarrow.parquet.ParquetFile(file)
            names = parquet.schema_arrow.names
            missing = [column for column in columns if column not in names]
            if missing:
                raise BenchError(
                    f"data set {task.data.hub}, split {split!r}: expected the column {missing[0]!r}, found "
                    f"{', '.join(names)}{nearest(missing[0], names)} ({file})"
                )
            for batch in parquet.iter_batches(BLOCK, columns=columns):
                *texts, targets = [batch.column(name).to_pylist() for name in columns]
                rows = [list(row) for row in zip(*texts, strict=True)]
                yield Rows(rows, targets, list(range(number, number + len(targets))))
                number += len(targets)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise BenchError(f"{file}: no readable parquet file: {error}") from error


def _limited(task: Task, name: str, count: int, choice: DataChoice) -> Sequence[int]:
    """As many of `count` rows as `choice` allows: for training the first of a fixed permutation, else the first rows.

    Raises BenchError for an empty split.
    """
    if count == 0:
        raise BenchError(f"data set {task.data.hub}, split {name!r}: it has no row")
    limit = choice.train_rows if name == "train" else choice.evaluation_rows
    if limit is None or limit >= count:
        return range(count)
    if name != "train":
        return range(limit)
    import numpy as np

    chosen: list[int] = sorted(np.random.default_rng(ORDER_SEED).permutation(count)[:limit].tolist())
    return chosen


def _checked(task: Task, name: str, rows: Rows) -> Rows:
    """`rows` with targets as the task's kind has them. Raises BenchError at the first bad text or target."""
    where = f"data set {task.data.hub}, split {name!r}, row"
    targets = []
    for texts, target, number in zip(rows.texts, rows.targets, rows.numbers, strict=True):
        for column, text in zip(task.data.columns.text, texts, strict=True):
            if not isinstance(text, str):
                raise BenchError(f"{where} {number}: column {column!r} should hold a text, found {text!r}")
        targets.append(_target(task, target, f"{where} {number}: column {task.data.columns.target!r}"))
    return Rows(rows.texts, targets, rows.numbers)


def _target(task: Task, value: Any, where: str) -> Any:
    """A target as the task's kind has it: a text, a number, or the index of a label. Raises BenchError."""
    if task.kind == "summarization":
        if isinstance(value, str) and value.strip():
            return value
        raise BenchError(f"{where} should hold the target text, found {value!r}")
    if task.kind == "regression":
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
            return float(value)
        raise BenchError(f"{where} should hold a number, found {value!r}")
    if value in (-1, None):
        raise BenchError(f"{where} holds {value!r}: the split is unlabeled (as GLUE's test splits are)")
    if isinstance(value, str) and value in task.labels:
        return task.labels.index(value)
    if isinstance(value, int) and 0 <= value < len(task.labels):
        return int(value)
    hint = nearest(value, task.labels) if isinstance(value, str) else ""
    raise BenchError(f"{where} should hold 0 to {len(task.labels) - 1} or one of {task.labels}, found {value!r}{hint}")
