"""The folder that `bench init` writes: studies of one's own, which the installed package runs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.config.catalog import Catalog
from bench.config.folders import OWN, SCHEMAS
from bench.config.study import Study
from bench.config.yaml_source import build
from bench.errors import BenchError, SpecError
from bench.files import folder_in_one_step
from bench.packaged import DEFAULT_PROFILE, SLURM_PROFILE, TEMPLATE, WORKFLOW

PLACEHOLDER = "STUDY"  # in the template, for the name of the study
# Where a file of the template goes; the others keep their places. A file with its real name would rule in the package.
_PLACES = {
    "gitignore": ".gitignore",
    "slurm-study.yaml": "slurm/study.yaml",
    "workflow/studies/study.yaml": f"workflow/studies/{PLACEHOLDER}.yaml",
}
_COPIED = {
    "slurm/config.yaml": SLURM_PROFILE / "config.yaml",
    "profiles/default/config.yaml": DEFAULT_PROFILE / "config.yaml",
}


def write_own_folder(folder: Path) -> str:
    """Write a folder of one's own, with an example study that is called like it. Returns the name of the study.

    Raises BenchError if `folder` holds anything, or if a study can't have its name; nothing is written then.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BenchError(f"{folder}: is not empty: name a folder that does not exist yet")
    study = folder.resolve().name
    _check_name(study)
    _write(folder, own_files(study))
    return study


def own_files(study: str) -> dict[str, bytes]:
    """The content of each file by its place in the folder."""
    template = {file.relative_to(TEMPLATE).as_posix(): file.read_bytes() for file in _files(TEMPLATE)}
    files = {_PLACES.get(name, name): content for name, content in template.items()}
    files |= {name: file.read_bytes() for name, file in _COPIED.items()}
    schemas = WORKFLOW / SCHEMAS
    files |= {(OWN / SCHEMAS / file.name).as_posix(): file.read_bytes() for file in _files(schemas)}
    return {
        name.replace(PLACEHOLDER, study): content.replace(PLACEHOLDER.encode(), study.encode())
        for name, content in files.items()
    }


def _check_name(study: str) -> None:
    """Raises BenchError if no study of a user can have that name."""
    example = {"name": study, "backbones": {"classification": "a"}, "tasks": ["a"], "methods": ["a"], "seeds": [0]}
    try:
        build(Study, {**example, "budgets": {"a": {"rank": 1}}}, {}, Path(study))
    except SpecError as error:
        message = error.problems[0].message.removeprefix("name: ")
        raise BenchError(f"the folder gives its name to a study: {message}") from error
    if study in Catalog().study_names():
        raise BenchError(f"the folder gives its name to a study: the package has a study {study!r} already")


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` into `folder`, which is empty or missing: all of them or, after an error, none."""
    if not folder.exists():
        with folder_in_one_step(folder) as unfinished:
            _fill(unfinished, files)
        return
    # It may be somebody's working folder, so it is not replaced as a whole.
    with tempfile.TemporaryDirectory(prefix=".rankbench-", dir=folder) as unfinished:
        _fill(Path(unfinished), files)
        for path in sorted(Path(unfinished).iterdir()):
            path.rename(folder / path.name)


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
