"""A study's records and the files beside them, checked, and laid out anew without what belongs to this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.analysis.results import LONG_FIELDS, Results
from bench.analysis.stats.without_texts import holds_texts_of_rows, without_texts
from bench.config.resolve import ResolvedStudy
from bench.config.task import Task
from bench.config.tuned_file import tuned_text
from bench.errors import BenchError
from bench.files import digest, write_atomic
from bench.paths import CURVE, PREDICTIONS, CellPaths, StudyPaths
from bench.publishing.bundles.scrub import Scrubber
from bench.records.io import read_record, write_record
from bench.records.schema import Record
from bench.tuning.outcomes import trial_record
from bench.tuning.tuned import group_choices, tuned_file

MOST_NAMED = 8  # missing cells in a message


@dataclass(frozen=True)
class Source:
    """The record of one cell or trial without its `LONG_FIELDS`, its task, and the folder that it stands in."""

    record: Record
    task: Task
    paths: CellPaths

    @property
    def id(self) -> str:
        return self.record.cell.id

    def whole_record(self) -> Record:
        """The record, read again: thousands of whole ones would not fit into memory. Raises BenchError."""
        return read_record(self.paths.record)


@dataclass(frozen=True)
class Gathered:
    """What a study left: the records of its spec, by id, and the ids of cells and trials that have none."""

    sources: tuple[Source, ...]
    missing_cells: tuple[str, ...]
    missing_trials: tuple[str, ...]
    cells: int
    trials: int

    @property
    def records(self) -> list[Record]:
        """All of them without their `LONG_FIELDS`."""
        return [source.record for source in self.sources]


@dataclass
class Laid:
    """What was laid out: files that stay where they are, by their names in the study's folder, and hashes of originals.

    Attributes:
        elsewhere: files to take as they are, such as those of adapters.
        originals: SHA-256 of the files from which something was left out, by the names of what was laid out.
    """

    elsewhere: dict[str, Path] = field(default_factory=dict)
    originals: dict[str, str] = field(default_factory=dict)


def gather(study: ResolvedStudy, results: Results, *, partial: bool) -> Gathered:
    """The records of the study's spec. Raises BenchError where some are missing, unless `partial`; names them."""
    paths = results.paths
    trials = [trial for group in study.trials.values() for trial in group]
    found = dict(results.records)
    for trial in trials:
        if record := trial_record(trial, paths):
            found[trial.id] = record.model_copy(update=LONG_FIELDS)
    missing_cells, missing_trials = (
        tuple(cell.id for cell in cells if cell.id not in found) for cells in (study.cells, trials)
    )
    missing = (*missing_cells, *missing_trials)
    if missing and not partial:
        what = f"{len(study.cells) + len(trials)} {'cells and trials' if trials else 'cells'}"
        named = ", ".join(missing[:MOST_NAMED])
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        raise BenchError(
            f"study {study.name!r} is not complete: {len(missing)} of {what} have no record of their spec: "
            f"{named}{more}; train them, or add --partial for a bundle that says what is missing"
        )
    tasks = {cell.id: cell.task for cell in (*study.cells, *trials)}
    sources = tuple(Source(found[name], tasks[name], paths.cell(name)) for name in sorted(found))
    return Gathered(sources, missing_cells, missing_trials, len(study.cells), len(trials))


def lay_out(gathered: Gathered, target: StudyPaths, scrubber: Scrubber, *, adapters: bool) -> Laid:
    """Write every record without what `scrubber` replaces, with curve and predictions, to the folder of `target`.

    Raises BenchError where a file beside a record is missing or is not the one that the record names.
    """
    laid = Laid()
    for source in gathered.sources:
        paths = target.cell(source.id)
        place = paths.folder.relative_to(target.folder)
        record = source.whole_record()
        _check_files(record, source.paths.folder, adapters=adapters)
        paths.folder.mkdir(parents=True)
        files = dict(record.files)
        if source.paths.curve.is_file():
            shutil.copyfile(source.paths.curve, paths.curve)
        if source.paths.predictions.is_file():
            before = source.paths.predictions.read_bytes()
            after = _publishable(source, before)
            write_atomic(paths.predictions, after)
            if after != before:
                laid.originals[(place / PREDICTIONS).as_posix()] = digest(before)
                files[PREDICTIONS] = digest(after)
        write_record(scrubber.scrubbed(record.model_copy(update={"files": files})), paths.folder)
        if adapters:
            laid.elsewhere |= {(place / name).as_posix(): file for name, file in _trained(source.paths)}
    return laid


def write_choices(study: ResolvedStudy, target: StudyPaths) -> None:
    """Write the tuned.yaml of a study that tunes, from the records in `target`; nothing where no group has a choice."""
    if not study.trials:
        return
    groups = group_choices(study, target.results)
    if any(group.choice is not None for group in groups):
        write_atomic(target.tuned, tuned_text(tuned_file(study, groups)).encode())


def _publishable(source: Source, predictions: bytes) -> bytes:
    """Predictions as a bundle may hold them."""
    synthetic = bool(source.record.data.get("synthetic"))
    if not holds_texts_of_rows(source.task, synthetic=synthetic):
        return predictions
    return without_texts(source.task, predictions)


def _check_files(record: Record, folder: Path, *, adapters: bool) -> None:
    for name, sha256 in record.files.items():
        file = folder / name
        if name not in (CURVE, PREDICTIONS) and not adapters:
            continue
        if not file.is_file():
            raise BenchError(f"{file}: is missing, but the record beside it names it: train the cell again")
        if digest(file) != sha256:
            raise BenchError(f"{file}: does not have the SHA-256 that the record beside it names: train the cell again")


def _trained(paths: CellPaths) -> Iterator[tuple[str, Path]]:
    """The files of what a cell trained, by their names in the folder of the cell. Raises BenchError at a link."""
    for folder in (paths.adapter, paths.model):
        for place, _, names in os.walk(folder):
            for name in sorted(names):
                file = Path(place) / name
                if file.is_symlink():
                    raise BenchError(f"{file}: is a link, not a file; a bundle holds files alone")
                yield file.relative_to(paths.folder).as_posix(), file
