"""Whether the files that something was prepared from are what they were: those of a mirror, a folder, a package.

Each prepared folder keeps the size, the times and the SHA-256 of every such file. A look at them reads no file as long
as size and times are the same. Where these differ the hash decides: a file that was merely touched or copied is the
same. The kernel's time of change and the number of the file count too, since a file can be replaced by one of the same
size and time of modification.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.config.backbone import Backbone
from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.errors import BenchError
from bench.files import canonical_json, digest, write_atomic
from bench.inputs.locate.dataset_card import CARD_FILES
from bench.inputs.locate.located import locate
from bench.inputs.model_files import files_of, local_folder
from bench.paths import MANIFEST, ORIGIN

SETTLED = 2 * 10**9  # nanoseconds: a file that was changed so shortly before could change again at the same time


@dataclass(frozen=True)
class FileState:
    """A file: its SHA-256, and by what we tell that it need not be hashed again."""

    sha256: str
    size: int
    modified: int  # nanoseconds, as the times below
    changed: int
    inode: int

    def looks_like(self, file: Path) -> bool:
        """Whether size, times and number of `file` are those of this state."""
        return (self.size, self.modified, self.changed, self.inode) == _stat(file)


def states_of(files: Mapping[str, Path], known: Mapping[str, FileState]) -> dict[str, FileState]:
    """The state of each of `files` now. A file that looks as `known` is not read."""
    return {name: _state(file, known.get(name)) for name, file in files.items()}


def read_origin(folder: Path) -> dict[str, FileState]:
    """What the prepared `folder` keeps of the files that it was made from; empty where it keeps nothing legible."""
    try:
        return {name: FileState(**state) for name, state in json.loads((folder / ORIGIN).read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_origin(folder: Path, states: Mapping[str, FileState]) -> None:
    """Keep `states` in the prepared `folder`. A file that was changed just now is hashed again at the next look."""
    recent = time.time_ns() - SETTLED
    kept = {name: replace(s, modified=0) if max(s.modified, s.changed) > recent else s for name, s in states.items()}
    write_atomic(folder / ORIGIN, canonical_json({name: asdict(state) for name, state in kept.items()}))


def check_unchanged(files: Mapping[str, Path], states: Mapping[str, FileState]) -> None:
    """Raises BenchError where one of `files` no longer looks like its state: it was written while it was read."""
    for name, file in files.items():
        if not file.is_file() or not states[name].looks_like(file):
            raise BenchError(f"{file} was changed while it was read: run the same command again")


def files_of_data(task: Task, choice: DataChoice, mirror: Path | None) -> dict[str, Path]:
    """The files on this machine that decide the rows of `task`; none for those of a generator, of a package or the hub.

    No row is read. Raises BenchError where files are missing.
    """
    if choice.source == "embedded" or task.data.installed or (mirror is None and task.data.files is None):
        return {}
    files = locate(task, mirror).files
    if mirror is not None and task.data.files is None:
        for hub, folder in _mirrored(task, mirror).items():
            prefix = "" if hub == task.data.hub else f"{hub}/"
            files |= {f"{prefix}{name}": folder / name for name in CARD_FILES if (folder / name).is_file()}
    return files


def _mirrored(task: Task, mirror: Path) -> dict[str, Path]:
    """The folders in the mirror of the task's data sets, by their names on the hub."""
    hubs = [str(data.hub) for data in (task.data, task.data.for_evaluation)]
    return {hub: mirror / "datasets" / hub for hub in hubs}


def files_of_model(backbone: Backbone, mirror: Path | None) -> dict[str, Path]:
    """The files on this machine that the model is copied from; none where it comes from the hub or is trained here.

    Raises BenchError where their folder is missing.
    """
    folder = local_folder(backbone, mirror)
    return files_of(backbone, folder) if folder else {}


def change_of_model(folder: Path, backbone: Backbone, mirror: Path | None, *, refresh: bool = True) -> str | None:
    """What changed in the files that the model in `folder` was prepared from; None if nothing, or it is not prepared.

    A model whose source is not on this machine, as a mirror on a compute node need not be, counts as unchanged.
    `refresh`: keep the times of files that turned out to be the same, so that they are not hashed again.
    """
    try:
        files = files_of_model(backbone, mirror)
    except BenchError:
        return None
    return _change(folder, files, refresh)


def change_of_data(
    folder: Path, task: Task, choice: DataChoice, mirror: Path | None, *, refresh: bool = True
) -> str | None:
    """As `change_of_model`, of the files that the rows in `folder` were prepared from."""
    if not (folder / MANIFEST).is_file():
        return None
    is_mirrored = choice.source == "hub" and task.data.hub is not None
    if is_mirrored and mirror and not all(folder.is_dir() for folder in _mirrored(task, mirror).values()):
        return None
    try:
        files = files_of_data(task, choice, mirror)
    except BenchError as error:
        return str(error)
    return _change(folder, files, refresh)


def _change(folder: Path, files: Mapping[str, Path], refresh: bool) -> str | None:
    if not (folder / MANIFEST).is_file():
        return None
    known = read_origin(folder)
    differing = [name for name in files if name not in known or not known[name].looks_like(files[name])]
    gone = sorted(known.keys() - files.keys())
    added = [name for name in files if name not in known]
    if added or gone:
        what = f"{added[0]} is new" if added else f"{gone[0]} is gone"
        return f"{what} since it was prepared"
    if not differing:
        return None
    now = states_of(files, known)
    for name in differing:
        if now[name].sha256 != known[name].sha256:
            return f"{files[name]} changed since it was prepared"
    if refresh:
        write_origin(folder, now)
    return None


def _stat(file: Path) -> tuple[int, int, int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _state(file: Path, known: FileState | None) -> FileState:
    if known is not None and known.looks_like(file):
        return known
    size, modified, changed, inode = _stat(file)
    sha256 = digest(file)
    if (size, modified, changed, inode) != _stat(file):
        raise BenchError(f"{file} was changed while it was read: run the same command again")
    return FileState(sha256, size, modified, changed, inode)
