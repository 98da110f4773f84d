"""The YAML files that a study is made of, by their names in its bundle, and the study read from there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import chdir
from pathlib import Path, PurePosixPath
from typing import Any

from bench.analysis.reference.ledger import ledger_files
from bench.config.catalog import Catalog, Entry, read_study
from bench.config.overrides import apply_overrides
from bench.config.resolve import ResolvedStudy, load_study
from bench.config.tuned_file import file_taken_over
from bench.errors import BenchError
from bench.paths import reference_folder
from bench.publishing.bundles.manifest import SPECS
from bench.publishing.bundles.scrub import absolute_path_in

ROOT = Path()  # of a bundle


def spec_files(study: ResolvedStudy, overrides: Sequence[str], also_named: Iterable[str]) -> dict[str, Path]:
    """The files of study, tasks, methods and backbones, of values taken over and of published numbers, by their names.

    overrides: those that the study was read with. also_named: further methods, whose labels the tables may show. Raises
    BenchError where an override names an absolute path, or values come from outside of the project's folder.
    """
    for override in overrides:
        if path := absolute_path_in(override):
            raise BenchError(f"--set {override}: names {path}, and a bundle holds no path of this machine")
    catalog, spec = study.catalog, study.study
    tasks = {*spec.tasks, *(name for grid in spec.grids for name in grid.tasks or ()), *spec.overrides}
    methods = {*spec.methods, *(name for grid in spec.grids for name in grid.methods or ()), *also_named}
    used: dict[str, Path] = {_name("studies", catalog.study_file(study.name)): catalog.study_file(study.name)}
    used |= _files("tasks", tasks, catalog.tasks)
    used |= _files("methods", methods, catalog.methods)
    used |= _files("backbones", spec.backbones.values(), catalog.backbones)
    if spec.recipe_from is not None:
        used[_relative(spec.recipe_from)] = _taken_over(catalog, study.name, overrides)
    ledger = ledger_files(*(reference_folder(folder.parent) for folder in catalog.folders))
    return used | {(reference_folder(ROOT) / file.name).as_posix(): file for file in ledger}


def study_in(folder: Path, name: str, overrides: Sequence[str]) -> ResolvedStudy:
    """The study of an unpacked bundle, read from the files in `folder` alone. Raises BenchError."""
    workflow = folder.resolve() / SPECS
    with chdir(folder):  # where a path in `recipe_from` is looked up first
        return load_study(name, overrides, workflow)


def _files(kind: str, names: Iterable[str], catalog: Mapping[str, Entry[Any]]) -> dict[str, Path]:
    return {_name(kind, catalog[name].file): catalog[name].file for name in sorted({*names}) if name in catalog}


def _name(kind: str, file: Path) -> str:
    return (PurePosixPath(SPECS) / kind / file.name).as_posix()


def _relative(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or name.startswith("~"):
        raise BenchError(
            f"recipe_from: {name} is not below the project's folder: a bundle can't hold it, so move it there"
        )
    return path.as_posix()


def _taken_over(catalog: Catalog, name: str, overrides: Sequence[str]) -> Path:
    entry = read_study(catalog, name)
    file = file_taken_over(apply_overrides(entry, overrides)[0] if overrides else entry)
    assert file is not None  # the study names one
    return file
