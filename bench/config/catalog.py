"""The library: every task, method, backbone and study of workflow/, read and validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.config.backbone import Backbone
from bench.config.method import Method
from bench.config.peft_fields import OURS, config_class, config_names
from bench.config.study import Study
from bench.config.task import Task
from bench.config.types import Frozen
from bench.config.yaml_source import Places, build, place_of, read_yaml
from bench.errors import BenchError, Problem, SpecError, nearest

Item = TypeVar("Item", bound=Frozen)

WORKFLOW = Path(__file__).resolve().parents[2] / "workflow"


@dataclass(frozen=True)
class Entry(Generic[Item]):
    """One file: what it describes, the plain data it was built from, and where each key stands."""

    item: Item
    data: dict[str, Any]
    places: Places
    file: Path


@dataclass(frozen=True)
class Library:
    """What a study can name. Studies are read one by one (`load_study`), since they refer to the rest."""

    tasks: dict[str, Entry[Task]] = field(default_factory=dict)
    methods: dict[str, Entry[Method]] = field(default_factory=dict)
    backbones: dict[str, Entry[Backbone]] = field(default_factory=dict)
    folder: Path = WORKFLOW

    def study_file(self, name: str) -> Path:
        """The file of the study `name`. Raises BenchError with the nearest name."""
        file = self.folder / "studies" / f"{name}.yaml"
        if not file.is_file():
            raise BenchError(f"unknown study {name!r}{nearest(name, self.study_names())}")
        return file

    def study_names(self) -> list[str]:
        return sorted(file.stem for file in (self.folder / "studies").glob("*.yaml"))


def load_library(folder: Path = WORKFLOW) -> Library:
    """Read every file of tasks/, methods/ and backbones/. Raises SpecError with all problems of all files."""
    if not folder.is_dir():
        raise BenchError(f"{folder}: no such folder of YAML files")
    problems: list[Problem] = []
    library = Library(
        tasks=_read_folder(Task, folder / "tasks", problems),
        methods=_read_folder(Method, folder / "methods", problems),
        backbones=_read_folder(Backbone, folder / "backbones", problems),
        folder=folder,
    )
    problems += [problem for entry in library.methods.values() for problem in _peft_problems(entry)]
    if problems:
        raise SpecError(problems)
    return library


def read_entry(model: type[Item], file: Path) -> Entry[Item]:
    """One file as a `model`; its `name` must be the file's name. Raises SpecError."""
    data, places = read_yaml(file)
    item = build(model, data, places, file)
    name = getattr(item, "name", None)
    if name != file.stem:
        line, column = places.get(("name",), (0, 0))
        message = f"name: expected {file.stem!r} as the file is called, found {name!r}"
        raise SpecError([Problem(file, message, line, column)])
    return Entry(item, data, places, file)


def read_study(library: Library, name: str) -> Entry[Study]:
    return read_entry(Study, library.study_file(name))


def _peft_problems(entry: Entry[Method]) -> list[Problem]:
    """A config that PEFT doesn't have, a field that the config doesn't have, a value that can't be the field's."""
    chosen = entry.item.peft
    if chosen is None:
        return []
    known = config_class(chosen.config)
    if known is None:
        message = f"peft.config: {chosen.config!r} is no adapter of PEFT{nearest(chosen.config, config_names())}"
        return [Problem(entry.file, message, *place_of(entry.places, ("peft", "config")))]
    problems = []
    for name, value in chosen.fields.items():
        message = ""
        if name in OURS:
            message = f"{name!r} follows from budget, recipe, backbone and the method's other keys: leave it out"
        elif name not in known.fields:
            message = f"{chosen.config} has no field {name!r}{nearest(name, known.open)}"
        elif not known.accepts(name, value):
            message = f"{name}: expected {known.fields[name]}, found {value!r}"
        if message:
            place = place_of(entry.places, ("peft", "fields", name))
            problems.append(Problem(entry.file, f"peft.fields: {message}", *place))
    return problems


def _read_folder(model: type[Item], folder: Path, problems: list[Problem]) -> dict[str, Entry[Item]]:
    entries = {}
    for file in sorted(folder.glob("*.yaml")):
        try:
            entries[file.stem] = read_entry(model, file)
        except SpecError as error:
            problems.extend(error.problems)
    return entries
