"""Rows of a task, from the hub, from a mirror folder in the hub's layout, or generated. Parquet only.

Everything about the rows is checked here, before any model is loaded: files, columns, labels, empty texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.config.cell import DataChoice
from bench.config.task import Data, Task
from bench.errors import BenchError, nearest
from bench.files import digest
from bench.inputs import synthetic
from bench.inputs.hub import fetch

if TYPE_CHECKING:
    import pyarrow

ORDER_SEED = 20230310  # of the permutation that picks the training rows of a limited study: one choice for every cell


@dataclass(frozen=True)
class Rows:
    """One split: texts (one or two columns), targets (labels, numbers or texts), the rows' numbers in the source."""

    texts: list[list[str]]
    targets: list[Any]
    numbers: list[int]


@dataclass(frozen=True)
class Source:
    """Every split of a task as read, and where it came from."""

    splits: dict[str, Rows]
    revision: str | None
    files: dict[str, str]  # name in the source: SHA-256
    synthetic: bool


def read_source(task: Task, choice: DataChoice, mirror: Path | None) -> Source:
    """The rows of `task` that `choice` asks for. Raises BenchError naming data set, split, row, expected and found."""
    names = {"train": task.data.train, **task.data.evaluation}
    if choice.source == "embedded":
        splits = {
            name: _limited(task, name, synthetic.rows(task.data.embedded or "", split), choice)
            for name, split in names.items()
        }
        return Source({n: _checked(task, n, s) for n, s in splits.items()}, None, {}, synthetic=True)
    if mirror is not None:
        folder, revision = _mirror_folder(mirror, task.data), None
    else:
        folder, revision = _download(task.data)
    files: dict[str, str] = {}
    splits = {}
    for name, split in names.items():
        found = split_files(folder, task.data, split)
        files |= {file.relative_to(folder).as_posix(): digest(file) for file in found}
        splits[name] = _checked(task, name, _limited(task, name, _read(task, split, found), choice))
    return Source(splits, revision, files, synthetic=False)


def split_files(folder: Path, data: Data, split: str) -> list[Path]:
    """The parquet files of a split: as the folder's README says, else by the hub's naming. Raises BenchError."""
    config = data.config
    configs = _configs(folder / "README.md")
    listed = _listed(_chosen(configs, data))
    if listed:
        patterns = listed.get(split, [])
    else:
        places = ([f"{config}/"] if config else []) + ["", "data/"]
        patterns = [f"{place}{split}{end}.parquet" for place in places for end in ("-*-of-*", "")]
    files: list[Path] = []
    for pattern in patterns:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise BenchError(f"{folder / 'README.md'}: path {pattern!r} leaves the data set's folder")
        files = sorted(p for p in folder.glob(pattern) if p.is_file())
        if files:
            break
    if not files:
        where = f"data set {data.hub} ({config or 'no config'}): no parquet file of split {split!r} in {folder}"
        parents = {p.parent.relative_to(folder).as_posix() for p in folder.rglob("*.parquet")}
        names = set(configs) or parents - {".", "data"}
        if names and config not in names and not listed:
            raise BenchError(f"{where}; `config` should be one of {', '.join(sorted(names))}")
        have = set(listed) or {re.sub(r"(-\d+-of-\d+)?\.parquet$", "", p.name) for p in folder.rglob("*.parquet")}
        raise BenchError(f"{where}{nearest(split, have - {split})}")
    wrong = [p for p in files if p.suffix != ".parquet" or not p.resolve().is_relative_to(_root(folder))]
    if wrong:
        raise BenchError(f"{wrong[0]}: only parquet files inside the data set's folder are read")
    return files


def _root(folder: Path) -> Path:
    """Links may point inside the folder, or (in the hub's own cache) to its blobs."""
    folder = folder.resolve()
    return folder.parent.parent if folder.parent.name == "snapshots" else folder


def _configs(readme: Path) -> dict[str, dict[str, Any]]:
    """The entries of `configs` in the README's front matter by name, or none."""
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
    """The one config whose splits are read: the named one, else the default, else the only one. Raises BenchError."""
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
    """The paths of each split that a config lists in `data_files`."""
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
    """The data set's parquet files and README at its revision, and that revision."""
    wanted = "*.parquet" if data.config is None else f"*{data.config}*/*.parquet"
    return fetch("dataset", data.hub, data.revision, ["README.md", wanted])


def _read(task: Task, split: str, files: Sequence[Path]) -> Rows:
    import pyarrow
    import pyarrow.parquet

    columns = [*task.data.columns.text, task.data.columns.target]
    tables: list[pyarrow.Table] = []
    for file in files:
        try:
            names = pyarrow.parquet.read_schema(file).names
            missing = [column for column in columns if column not in names]
            if missing:
                raise BenchError(
                    f"data set {task.data.hub}, split {split!r}: expected the column {missing[0]!r}, found "
                    f"{', '.join(names)}{nearest(missing[0], names)} ({file})"
                )
            tables.append(pyarrow.parquet.read_table(file, columns=columns))
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise BenchError(f"{file}: no readable parquet file: {error}") from error
    values = {c: [v for table in tables for v in table.column(c).to_pylist()] for c in columns}
    targets = values[columns[-1]]
    texts = [list(row) for row in zip(*(values[c] for c in columns[:-1]), strict=True)]
    return Rows(texts, targets, list(range(len(targets))))


def _limited(task: Task, name: str, rows: Rows, choice: DataChoice) -> Rows:
    """Training: the first of one fixed permutation. Evaluation: the first rows as they stand."""
    count = len(rows.targets)
    if count == 0:
        raise BenchError(f"data set {task.data.hub}, split {name!r}: it has no row")
    limit = choice.train_rows if name == "train" else choice.evaluation_rows
    if limit is None or limit >= count:
        return rows
    chosen: Sequence[int] = range(limit)
    if name == "train":
        import numpy as np

        chosen = sorted(np.random.default_rng(ORDER_SEED).permutation(count)[:limit].tolist())
    return Rows([rows.texts[i] for i in chosen], [rows.targets[i] for i in chosen], [rows.numbers[i] for i in chosen])


def _checked(task: Task, name: str, rows: Rows) -> Rows:
    """Every text a string, every target of the task's kind. Raises BenchError at the first row that is not."""
    where = f"data set {task.data.hub}, split {name!r}, row"
    targets = []
    for texts, target, number in zip(rows.texts, rows.targets, rows.numbers, strict=True):
        for column, text in zip(task.data.columns.text, texts, strict=True):
            if not isinstance(text, str):
                raise BenchError(f"{where} {number}: column {column!r} should hold a text, found {text!r}")
        targets.append(_target(task, target, f"{where} {number}: column {task.data.columns.target!r}"))
    return Rows(rows.texts, targets, rows.numbers)


def _target(task: Task, value: Any, where: str) -> Any:
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
