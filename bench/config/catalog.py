"""The catalog: every task, method, backbone and study of the workflow folders, read and validated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.config.backbone import Backbone
from bench.config.folders import FOLDERS, clashes, workflow_folders, yaml_files
from bench.config.method import Method
from bench.config.study import Study
from bench.config.task import Task
from bench.config.types import Frozen
from bench.config.yaml_source import Places, build, read_yaml
from bench.errors import BenchError, Problem, SpecError, nearest
from bench.packaged import WORKFLOW

Item = TypeVar("Item", bound=Frozen)


@dataclass(frozen=True)
class Entry(Generic[Item]):
    """One file: the item that it describes, the plain data that the item was built from, and the place of each key."""

    item: Item
    data: dict[str, Any]
    places: Places
    file: Path


@dataclass(frozen=True)
class Catalog:
    """What a study can name. Studies are read one by one (`read_study`), because they refer to everything else."""

    tasks: dict[str, Entry[Task]] = field(default_factory=dict)
    methods: dict[str, Entry[Method]] = field(default_factory=dict)
    backbones: dict[str, Entry[Backbone]] = field(default_factory=dict)
    folders: tuple[Path, ...] = (WORKFLOW,)  # a name is in one of them alone
    invalid: dict[str, frozenset[str]] = field(default_factory=dict)  # names of the files that were refused, by folder

    def study_file(self, name: str) -> Path:
        """The file of the study `name`. Raises BenchError with the nearest valid name if there is none."""
        files = {file.stem: file for file in self._study_files()}
        if name not in files:
            raise BenchError(f"unknown study {name!r}{nearest(name, files)}")
        return files[name]

    def study_names(self) -> list[str]:
        return [file.stem for file in self._study_files()]

    def _study_files(self) -> list[Path]:
        return [file for folder in self.folders for file in yaml_files(folder / "studies")]


def load_catalog(folder: Path | None = None) -> Catalog:
    """Read every file in tasks/, methods/ and backbones/ of `folder`; of all `workflow_folders` if it is None.

    The fields of PEFT configs are not checked, because that imports PEFT: see `peft_fields.check_peft_methods`.
    Raises SpecError with all problems of all files, and BenchError if there is no such folder.
    """
    catalog, problems = read_catalog(workflow_folders(folder))
    if problems:
        raise SpecError(problems)
    return catalog


def read_catalog(folders: Sequence[Path]) -> tuple[Catalog, list[Problem]]:
    """The valid files of `folders`, and every problem of the others; a name that two folders have is one of them.

    Raises BenchError if there is no such folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise BenchError(f"{folder}: no such folder of YAML files")
    if not any((folder / name).is_dir() for folder in folders for name in ("tasks", "methods", "backbones")):
        raise BenchError(f"{folders[0]}: no tasks/, methods/ or backbones/ in this folder: no YAML file would be read")
    problems = clashes(folders)  # all are collected over all files, so that a user sees every fault at once
    invalid: dict[str, frozenset[str]] = {}
    catalog = Catalog(
        tasks=_read(Task, "tasks", folders, problems, invalid),
        methods=_read(Method, "methods", folders, problems, invalid),
        backbones=_read(Backbone, "backbones", folders, problems, invalid),
        folders=tuple(folders),
        invalid=invalid,
    )
    return catalog, problems


def unread_files(folder: Path) -> list[Problem]:
    """A problem for each file of `folder` that is called almost like a YAML file, and is not read."""
    files = sorted(file for name in FOLDERS for file in (folder / name).glob("*") if not file.name.startswith("."))
    return [
        Problem(file, f"is not read: call it {file.stem}.yaml")
        for file in files
        if file.suffix.lower() in (".yaml", ".yml") and file.suffix != ".yaml"
    ]


def read_entry(model: type[Item], file: Path) -> Entry[Item]:
    """One file as a `model`. Raises SpecError if it is invalid or if its `name` is not the name of the file."""
    data, places = read_yaml(file)
    problems = []
    name = data.get("name")
    if isinstance(name, str) and name != file.stem:
        message = f"name: expected {file.stem!r} as the file is called, found {name!r}"
        problems.append(Problem(file, message, *places.get(("name",), (0, 0))))
    try:
        item = build(model, data, places, file)
    except SpecError as error:
        raise SpecError([*problems, *error.problems]) from error
    if problems:
        raise SpecError(problems)
    return Entry(item, data, places, file)


def read_study(catalog: Catalog, name: str) -> Entry[Study]:
    """The file of the study `name`. Raises BenchError if there is none, and SpecError if it is invalid."""
    return read_entry(Study, catalog.study_file(name))


def _read(
    model: type[Item],
    kind: str,
    folders: Sequence[Path],
    problems: list[Problem],
    invalid: dict[str, frozenset[str]],
) -> dict[str, Entry[Item]]:
    """Every valid file of a kind by its name; problems and names of the others go to `problems` and `invalid`."""
    entries, refused = {}, set()
    for file in (file for folder in folders for file in yaml_files(folder / kind)):
        try:
            entries[file.stem] = read_entry(model, file)
        except SpecError as error:
            problems.extend(error.problems)
            refused.add(file.stem)
    invalid[kind] = frozenset(refused)
    return entries
