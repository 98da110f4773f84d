"""Find the files of a task's splits: in a mirror, on the hub, or where the task's file says. No row is read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.config.data import Data
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.hub import download_dataset, list_dataset
from bench.inputs.locate.dataset_card import CARD_FILES, Card, read_card
from bench.inputs.locate.local_files import files_of_local_split
from bench.inputs.locate.split_files import files_of_split, names_in


@dataclass(frozen=True)
class Located:
    """Where the rows of a task are."""

    splits: dict[str, dict[str, Path]]  # by our name of the split: its files by what the record calls them, in order
    revision: str | None = None
    card: Card = field(default_factory=Card)
    evaluation: Located | None = None  # of the other data set to which the evaluation splits belong, if there is one

    def card_of(self, split: str) -> Card:
        """The card of the data set that a split, by our name, belongs to."""
        return self.card if split == "train" or self.evaluation is None else self.evaluation.card

    @property
    def files(self) -> dict[str, Path]:
        """Every file by its path in the data set, or as the task's file names it."""
        return {name: file for files in self.splits.values() for name, file in files.items()}


def locate(task: Task, mirror: Path | None) -> Located:
    """The files of every split that `task` reads. Those of the hub are downloaded.

    Raises BenchError where a split has no file, lacks a shard, or is there twice.
    """
    data = task.data
    if data.evaluation_from is None:
        return _in_one_set(task, {"train": data.train, **data.evaluation}, mirror)
    trained, evaluated = (
        _in_one_set(task, {"train": data.train}, mirror),
        _in_one_set(task.for_evaluation, data.evaluation, mirror),
    )
    # Two sets may have files of the same name.
    named = {
        name: {f"{data.evaluation_from.hub}/{path}": file for path, file in files.items()}
        for name, files in evaluated.splits.items()
    }
    return Located({**trained.splits, **named}, trained.revision, trained.card, evaluated)


def _in_one_set(task: Task, splits: Mapping[str, str], mirror: Path | None) -> Located:
    """The files of these splits (the data set's names, by ours) of the task's data set."""
    data = task.data
    if data.files is not None:
        return Located({name: _named(files_of_local_split(task, split), data) for name, split in splits.items()})
    if mirror is None:
        return _on_hub(data, splits)
    folder = mirror / "datasets" / str(data.hub)
    if not folder.is_dir():
        raise BenchError(f"the mirror has no data set {data.hub}: expected the folder {folder}")
    card, names = read_card(folder), names_in(folder)
    found = {
        name: {path: folder / path for path in files_of_split(names, card, data, split, str(folder))}
        for name, split in splits.items()
    }
    for file in (file for files in found.values() for file in files.values()):
        if not file.resolve().is_relative_to(_root(folder)):
            raise BenchError(f"{file}: only files inside the data set's folder are read")
    return Located(found, None, card)


def _on_hub(data: Data, splits: Mapping[str, str]) -> Located:
    hub = str(data.hub)
    commit, names = list_dataset(hub, data.revision)
    described = [name for name in CARD_FILES if name in names]
    card = read_card(download_dataset(hub, commit, described)) if described else Card()
    where = f"{hub} on the hub"
    chosen = {name: files_of_split(names, card, data, split, where) for name, split in splits.items()}
    folder = download_dataset(hub, commit, sorted({path for paths in chosen.values() for path in paths}))
    return Located({name: {path: folder / path for path in paths} for name, paths in chosen.items()}, commit, card)


def _named(files: list[Path], data: Data) -> dict[str, Path]:
    """Local files by their paths in the folder in which they were found, so that a record names no folder of a user."""
    return {_inside(file, data): file for file in files}


def _inside(file: Path, data: Data) -> str:
    for folder in data.folders:
        if folder.is_absolute() and file.is_relative_to(folder):
            return file.relative_to(folder).as_posix()
    return file.as_posix()


def _root(folder: Path) -> Path:
    """Where files of `folder` may be: inside it, or in the hub's cache, whose snapshots hold links to its blobs."""
    folder = folder.resolve()
    return folder.parent.parent if folder.parent.name == "snapshots" else folder
