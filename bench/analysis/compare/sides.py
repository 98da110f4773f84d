"""The two sides of a comparison: folders of results, of which every record is read, and paired by its cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bench.analysis.results import LONG_FIELDS
from bench.analysis.stats.predictions import same_predictions
from bench.analysis.stats.without_texts import is_without_texts, read_alike
from bench.config.task import Task
from bench.errors import BenchError, nearest
from bench.files import digest_json
from bench.paths import PREDICTIONS, CellPaths, StudyPaths
from bench.records.differences import Difference, environment_differences, result_differences, spec_differences
from bench.records.found import cell_records
from bench.records.io import read_record
from bench.records.schema import Record

EXPECTED = "expected a folder of results, that of a study, or a bundle (.zip)"


@dataclass(frozen=True)
class Side:
    """One side: what the user called it, and the folders of its studies, by name."""

    name: str
    studies: Mapping[str, StudyPaths]

    @classmethod
    def at(cls, folder: Path, name: str = "") -> Side:
        """The side in `folder`, a study's or one of results. Raises BenchError if there is no record in it."""
        name = name or str(folder)
        if not folder.is_dir():
            raise BenchError(f"{name}: there is no such folder; {EXPECTED}")
        folder = folder.resolve()  # `.` has a name then
        below = sorted(child.name for child in folder.iterdir() if child.is_dir())
        own = StudyPaths(folder.parent, folder.name)
        found = [own] if own.cells.is_dir() else [StudyPaths(folder, child) for child in below]
        studies = {paths.study: paths for paths in found if cell_records(paths)}
        if not studies:
            raise BenchError(f"{name}: no record of a study in it; {EXPECTED}")
        return cls(name, studies)


@dataclass(frozen=True)
class Pair:
    """A cell that both sides have recorded. The records lack their long fields (`bench.analysis.results`)."""

    study: str
    first: Record
    second: Record
    first_paths: CellPaths
    second_paths: CellPaths
    task: Task
    same_bits: bool
    spec: Mapping[str, Difference]
    environment: Mapping[str, Difference]

    @property
    def id(self) -> str:
        return self.first.cell.id

    @property
    def group(self) -> tuple[str, str, str, str]:
        """Study, task, method and budget."""
        key = self.first.cell
        return self.study, key.task, key.method, key.budget


@dataclass(frozen=True)
class Paired:
    """All cells of two sides: in both, and by name in one of them only; `cells` counts those of either side."""

    first: Side
    second: Side
    pairs: tuple[Pair, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def paired(first: Side, second: Side) -> Paired:
    """Pair the cells of two sides by task, method, budget and seed, in each study that both have.

    Where either side is one study, these two are paired whatever their names. Raises BenchError if the sides share no
    study or no cell, or if a record can't be read.
    """
    pairs: list[Pair] = []
    only: tuple[list[str], list[str]] = ([], [])
    tasks: dict[str, Task] = {}
    shared = list(_shared_studies(first, second))
    for study, ours, theirs in shared:
        one, other = (_by_cell(paths) for paths in (ours, theirs))
        prefix = f"{study}/" if len(shared) > 1 else ""
        only[0].extend(f"{prefix}{name}" for name in one if name not in other)
        only[1].extend(f"{prefix}{name}" for name in other if name not in one)
        pairs += [_pair(study, one[name], other[name], tasks) for name in one if name in other]
    if len(first.studies) > 1 or len(second.studies) > 1:
        for side, names in zip((first, second), only, strict=True):
            names += [f"{name} (the whole study)" for name in side.studies if name not in {s[0] for s in shared}]
    if not pairs:
        raise BenchError(f"{first.name} and {second.name}: no cell is recorded in both")
    return Paired(first, second, tuple(pairs), tuple(only[0]), tuple(only[1]))


def _shared_studies(first: Side, second: Side) -> Iterator[tuple[str, StudyPaths, StudyPaths]]:
    """The name of each study that is compared, and its folders."""
    if len(first.studies) == len(second.studies) == 1:
        (name, ours), theirs = next(iter(first.studies.items())), next(iter(second.studies.values()))
        yield name, ours, theirs
        return
    names = [name for name in first.studies if name in second.studies]
    if not names:
        missing = next(iter(first.studies))
        raise BenchError(f"{second.name}: has no study {missing!r}{nearest(missing, second.studies)}")
    for name in names:
        yield name, first.studies[name], second.studies[name]


def _by_cell(paths: StudyPaths) -> dict[str, CellPaths]:
    """The folders of the study's cells by their names, in order."""
    files = cell_records(paths)
    return {file.parent.relative_to(paths.cells).as_posix(): CellPaths(file.parent) for file in files}


def _pair(study: str, ours: CellPaths, theirs: CellPaths, tasks: dict[str, Task]) -> Pair:
    first, second = read_record(ours.record), read_record(theirs.record)
    task = _task(first, ours.record, tasks)
    same_bits = not result_differences(first, second) and _same_files(task, (first, ours), (second, theirs))
    return Pair(
        study=study,
        first=first.model_copy(update=LONG_FIELDS),
        second=second.model_copy(update=LONG_FIELDS),
        first_paths=ours,
        second_paths=theirs,
        task=task,
        same_bits=same_bits,
        spec=spec_differences(first, second),
        environment=environment_differences(first, second),
    )


def _same_files(task: Task, first: tuple[Record, CellPaths], second: tuple[Record, CellPaths]) -> bool:
    """Whether the files of two records are the same; predictions out of a bundle lack the texts of rows."""
    (one, ours), (other, theirs) = first, second
    differing = {name for name in one.files | other.files if one.files.get(name) != other.files.get(name)}
    if differing != {PREDICTIONS}:
        return not differing
    if not all(paths.predictions.is_file() for paths in (ours, theirs)):
        return False
    if is_without_texts(ours.predictions) == is_without_texts(theirs.predictions):
        return False
    given, wanted = read_alike(task, ours.predictions, theirs.predictions)
    return given is not None and wanted is not None and same_predictions(given, wanted)


def _task(record: Record, file: Path, known: dict[str, Task]) -> Task:
    """The task as the record has it. Each is read once. Raises BenchError if this version can't read it."""
    spec = record.spec["task"]
    key = digest_json(spec)
    if key not in known:
        try:
            known[key] = Task.model_validate(spec)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(map(str, fault["loc"]))
            raise BenchError(
                f"{file}: its task can't be read by this version: field {where}: {fault['msg']}"
            ) from error
    return known[key]
