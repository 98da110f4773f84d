"""The files of a task that names its own: `data: {files: {train: my/train.csv}}`."""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

from bench.config.task import Task
from bench.errors import BenchError, nearest
from bench.inputs.locate.shards import check_shards
from bench.inputs.locate.split_files import SAVED_SPLIT, check_format


def files_of_local_split(task: Task, split: str) -> list[Path]:
    """The files that `data.files` names for a split, in the order in which it names them; those of a pattern by name.

    Raises BenchError where a path leads nowhere, a shard is missing, or a file is named twice.
    """
    where, data = f"{task.data_title}, split {split!r}", task.data
    files: list[Path] = []
    for path in (data.files or {})[split]:
        try:
            files += _found(path, data.folders, where)
        except OSError as error:
            raise BenchError(f"{where}: {path}: {error.strerror}") from error
    real = [file.resolve() for file in files]
    for file, target in zip(files, real, strict=True):
        if real.count(target) > 1:
            raise BenchError(f"{where}: {file} is named twice")
    check_format([str(file) for file in files], where)
    check_shards(files, where)
    return files


def _found(path: str, folders: list[Path], where: str) -> list[Path]:
    """The files at `path`, in the first folder where there are any."""
    path = os.path.expanduser(path)
    for folder in folders:
        place = folder / path
        if place.is_file():
            return [place]
        if place.is_dir():
            return _of_folder(place, where)
        if glob.has_magic(path):
            found = sorted(Path(match) for match in glob.glob(str(place), recursive=True))
            if files := [file for file in found if file.is_file()]:
                return files
    places = " and ".join(str(place) for place in dict.fromkeys((folder / path).absolute() for folder in folders))
    siblings = {file.name for folder in folders for file in (folder / path).parent.glob("*") if file.is_file()}
    close = nearest(Path(path).name, siblings)
    raise BenchError(f"{where}: there is no file {path} (looked for {places}){close if 'mean' in close else ''}")


def _of_folder(folder: Path, where: str) -> list[Path]:
    """The files of a split that the library datasets saved as a folder."""
    state = folder / SAVED_SPLIT
    if not state.is_file():
        saved = [place.parent for place in sorted(folder.glob(f"*/{SAVED_SPLIT}"))]
        example = f"one of its splits, such as {saved[0]}" if saved else f"its files, such as {folder}/*.csv"
        raise BenchError(f"{where}: {folder} is a folder: name {example}")
    try:
        content = json.loads(state.read_bytes())
        names = [entry["filename"] for entry in content["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{state}: no list of the files of a saved data set ({error!r})") from error
    if content.get("_indices_data_files"):
        raise BenchError(f"{folder} holds a selection of its rows: call flatten_indices() before save_to_disk()")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise BenchError(f"{where}: {folder} lacks {missing[0] if missing else 'any file of rows'}")
    return [folder / name for name in names]
