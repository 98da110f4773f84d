"""Which recorded cells are to be trained again, read and checked: nothing that was edited is taken for a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.files import digest
from bench.paths import RECORD, CellPaths, StudyPaths
from bench.records.found import cell_records
from bench.records.io import read_record
from bench.records.schema import Record

# A cell of these statuses has no result: it ran out of memory, or had a fault that says nothing about it.
WITHOUT_RESULT = ("oom", "failed")
EXPECTED = f"expected a {RECORD}, the folder of a cell or of a study, or a bundle (.zip)"


@dataclass(frozen=True)
class Recorded:
    """A record, the file that it stands in, and the files beside it."""

    file: Path
    record: Record

    @property
    def paths(self) -> CellPaths:
        return CellPaths(self.file.parent)

    @property
    def name(self) -> str:
        """Its study and its cell: 'demo/cola/lora/small/seed-0'."""
        return f"{self.record.cell.study}/{self.record.cell.id}"


def record_files(path: Path) -> list[Path]:
    """The records that `path` stands for: itself, that of a cell's folder, or those of a study's final cells, sorted.

    Raises BenchError if it is none of these.
    """
    if path.is_file():
        return [path]
    if CellPaths(path).record.is_file():
        return [CellPaths(path).record]
    study = path if path.name else path.resolve()  # `.` has a name then
    files = cell_records(StudyPaths(study.parent, study.name)) if study.name else []
    if files:
        return files
    if not path.exists():
        raise BenchError(f"{path}: there is no such file or folder; {EXPECTED}")
    studies = sorted(folder.name for folder in path.iterdir() if cell_records(StudyPaths(path, folder.name)))
    named = f"; it holds the studies {', '.join(studies)}: name one of them" if studies else ""
    raise BenchError(f"{path}: no record in it; {EXPECTED}{named}")


def only_study(results: Path) -> Path:
    """The folder of the one study in the folder of results of a bundle. Raises BenchError if there is none, or more."""
    studies = [folder for folder in sorted(results.iterdir()) if cell_records(StudyPaths(results, folder.name))]
    if len(studies) != 1:
        found = ", ".join(folder.name for folder in studies) or "none"
        raise BenchError(f"the bundle should hold the records of one study, found {found}")
    return studies[0]


def read_recorded(file: Path) -> Recorded:
    """The record in `file`, of a training. Raises BenchError if it, or a file beside it, is not what was written."""
    recorded = Recorded(file, read_record(file))
    if recorded.record.kind == "evaluation":
        raise BenchError(
            f"{file}: the record of an evaluation, not of a training: `bench evaluate` scores a model again"
        )
    for name, sha256 in recorded.record.files.items():
        beside = recorded.paths.folder / name
        if not beside.resolve().is_relative_to(recorded.paths.folder.resolve()):
            raise BenchError(f"{file}: names a file outside of its folder: {name}")
        if beside.is_file() and digest(beside) != sha256:
            raise BenchError(f"{beside}: not the file that the record beside it names (its SHA-256 differs)")
    return recorded


def check_has_result(recorded: Recorded) -> None:
    """Raises BenchError if the cell ran out of memory or failed, so that there is no result to repeat.

    A diverged loss is a result: the same seed diverges at the same step.
    """
    if recorded.record.status in WITHOUT_RESULT:
        raise BenchError(
            f"{recorded.file}: its status is {recorded.record.status!r} ({recorded.record.message}): it has no result "
            "that could be repeated"
        )


def without_result(file: Path, left_out: list[str]) -> bool:
    """Whether the record in `file` has no result to repeat; a line on it goes to `left_out` then.

    One that can't be read counts as one with a result: that it can't be repeated is a finding about it.
    """
    try:
        record = read_record(file)
    except BenchError:
        return False
    if record.status in WITHOUT_RESULT:
        left_out.append(f"left out, since it has no result: {record.cell.id} ({record.status})")
    return record.status in WITHOUT_RESULT


def evenly(files: Sequence[Path]) -> Iterator[Path]:
    """The records of a study in the order in which `--cells` takes them: spread evenly over tasks and methods.

    Each next one is of the task that was taken least often so far, then of the method, then of this task with this
    method, then of the budget, then of the seed; of those that are equal, the first by name. So the same records give
    the same order on every machine.
    """
    left = sorted(files)
    taken: Counter[tuple[str, ...]] = Counter()

    def uses(file: Path) -> tuple[int | str, ...]:
        return (*(taken[kind] for kind in _kinds(file)), file.as_posix())

    while left:
        chosen = min(left, key=uses)
        left.remove(chosen)
        taken.update(_kinds(chosen))
        yield chosen


def _kinds(file: Path) -> tuple[tuple[str, ...], ...]:
    """Task, method, both, budget and seed of the record in `file`, by the names of its folders."""
    task, method, budget, seed = file.parts[-5:-1]
    return ("task", task), ("method", method), ("both", task, method), ("budget", budget), ("seed", seed)
