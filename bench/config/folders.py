"""Which folders hold the YAML files of a run: the package's own, and `workflow/` in the working folder of a user.

A user's files add to those of the package. A name that stands in both is refused, so that neither hides the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.errors import Problem
from bench.packaged import WORKFLOW

OWN = Path("workflow")  # relative to the working folder, as results/ is: a job of a cluster works in the same one
FOLDERS = ("tasks", "methods", "backbones", "studies")
SCHEMAS = "schemas"  # JSON Schemas of the files, which these name in their first line
_KINDS = {"tasks": "task", "methods": "method", "backbones": "backbone", "studies": "study", "tuned": "tuned file"}
MOST_CLASHES = 5  # that are listed: a whole copy of the package's folder has more than a hundred


def workflow_folders(named: Path | None = None) -> tuple[Path, ...]:
    """The folders whose files count: `named` alone, else the working folder's own, if there is one, and the package's.

    In a checkout, and wherever workflow/ is a link to it, the two are the same.
    """
    if named is not None:
        return (named,)
    is_own = any((OWN / kind).is_dir() for kind in _KINDS) and not (WORKFLOW.is_dir() and OWN.samefile(WORKFLOW))
    return (OWN, WORKFLOW) if is_own else (WORKFLOW,)


def yaml_files(folder: Path) -> list[Path]:
    """The files of a folder that are read. Hidden ones are what editors and file systems leave (._cola.yaml)."""
    return sorted(file for file in folder.glob("*.yaml") if not file.name.startswith("."))


def clashes(folders: Sequence[Path]) -> list[Problem]:
    """A problem for each file of one folder that another folder has as well, of the same kind and name."""
    found = list(_clashes(folders))
    if len(found) <= MOST_CLASHES:
        return found
    more = f"{len(found) - MOST_CLASHES} more of its files are called as files of {folders[-1]}: if it is a copy"
    return [*found[:MOST_CLASHES], Problem(folders[0], f"{more}, read it alone, with --workflow {folders[0]}")]


def folder_of_task(folders: Sequence[Path], name: str) -> Path:
    """The folder tasks/ that holds the file of the task `name`; that of the first of `folders` if none does."""
    tasks = [folder / "tasks" for folder in folders]
    return next((folder for folder in tasks if (folder / f"{name}.yaml").is_file()), tasks[0])


def outdated_schemas(folder: Path) -> list[Path]:
    """The JSON Schemas of `folder` that are not those of the installed package."""
    mine = {file: WORKFLOW / SCHEMAS / file.name for file in sorted((folder / SCHEMAS).glob("*.schema.json"))}
    return [file for file, current in mine.items() if current.is_file() and file.read_bytes() != current.read_bytes()]


def _clashes(folders: Sequence[Path]) -> Iterator[Problem]:
    for kind, what in _KINDS.items():
        taken: dict[str, Path] = {}
        for folder in reversed(folders):  # the last one is the package's, whose names are taken
            for file in yaml_files(folder / kind):
                other = taken.setdefault(file.stem, file)
                if other is not file:
                    yield Problem(file, f"{what} {file.stem!r} is in {other} already: give it another name")
