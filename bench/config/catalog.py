"""The catalog: every task, method, backbone and study of a workflow folder, read and validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.config.backbone import Backbone
from bench.config.method import Method
from bench.config.study import Study
from bench.config.task import Task
from bench.config.types import Frozen
from bench.config.yaml_source import Places, build, read_yaml
from bench.errors import BenchError, Problem, SpecError, nearest

Item = TypeVar("Item", bound=Frozen)

_PACKAGE = Path(__file__).resolve().parents[1]  # the folder bench/
# The wheel carries the files as bench/workflow/. In a checkout that folder does not exist, and workflow/ stands beside
# bench/.
WORKFLOW = next(
    (folder for folder in (_PACKAGE / "workflow", _PACKAGE.parent / "workflow") if folder.is_dir()),
    _PACKAGE / "workflow",
)


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
    folder: Path = WORKFLOW

    def study_file(self, name: str) -> Path:
        """The file of the study `name`. Raises BenchError with the nearest valid name if there is none."""
        file = self.folder / "studies" / f"{name}.yaml"
        if not file.is_file():
            raise BenchError(f"unknown study {name!r}{nearest(name, self.study_names())}")
        return file

    def study_names(self) -> list[str]:
        return sorted(file.stem for file in (self.folder / "studies").glob("*.yaml"))


def load_catalog(folder: Path = WORKFLOW) -> Catalog:
    """Read every file in tasks/, methods/ and backbones/ of `folder`.

    The fields of PEFT configs are not checked, because that imports PEFT: see `peft_fields.check_peft_methods`.
    Raises SpecError with all problems of all files, and BenchError if there is no such folder.
    """
    if not folder.is_dir():
        raise BenchError(f"{folder}: no such folder of YAML files")
    if not any((folder / name).is_dir() for name in ("tasks", "methods", "backbones")):
        raise BenchError(f"{folder}: no tasks/, methods/ or backbones/ in this folder: no YAML file would be read")
    problems: list[Problem] = []  # collected over all files, so that a user sees every fault at once
    catalog = Catalog(
        tasks=_read_folder(Task, folder / "tasks", problems),
        methods=_read_folder(Method, folder / "methods", problems),
        backbones=_read_folder(Backbone, folder / "backbones", problems),
        folder=folder,
    )
    if problems:
        raise SpecError(problems)
    return catalog


def read_entry(model: type[Item], file: Path) -> Entry[Item]:
    """One file as a `model`. Raises SpecError if it is invalid or if its `name` is not the name of the file."""
    data, places = read_yaml(file)
    item = build(model, data, places, file)
    name = getattr(item, "name", None)
    if name != file.stem:
        line, column = places.get(("name",), (0, 0))
        message = f"name: expected {file.stem!r} as the file is called, found {name!r}"
        raise SpecError([Problem(file, message, line, column)])
    return Entry(item, data, places, file)


def read_study(catalog: Catalog, name: str) -> Entry[Study]:
    """The file of the study `name`. Raises BenchError if there is none, and SpecError if it is invalid."""
    return read_entry(Study, catalog.study_file(name))


def _read_folder(model: type[Item], folder: Path, problems: list[Problem]) -> dict[str, Entry[Item]]:
    """Every valid file of `folder` by its name; the problems of the others are added to `problems`."""
    entries = {}
    for file in sorted(folder.glob("*.yaml")):
        try:
            entries[file.stem] = read_entry(model, file)
        except SpecError as error:
            problems.extend(error.problems)
    return entries
