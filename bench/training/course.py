"""What is left to do of a cell: nothing, a training, or of a trial under successive halving the way to its next rung.

Needs no torch: a job whose trial is stopped, or is done, ends at once.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.cell import Cell, Halving
from bench.errors import BenchError
from bench.paths import CachePaths, CellPaths, StudyPaths
from bench.records.io import as_data, write_record
from bench.records.rung import Rung, read_rung, write_rung
from bench.records.rung_score import RungScore
from bench.records.schema import Record
from bench.training.done import Inputs, recorded
from bench.tuning.halving import going_on
from bench.tuning.outcomes import compared_by

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A training from where it stands to `rung`, or to the end of its schedule if that is None."""

    rung: int | None = None


@dataclass(frozen=True)
class Course:
    """The way of `cell` to its record, or to its rung `rung` of successive halving.

    rivals: all trials of its group, itself among them, below `paths`; empty where nothing is compared.
    """

    cell: Cell
    inputs: Inputs
    out: Path
    cache: Path
    paths: StudyPaths
    rivals: Sequence[Cell] = ()
    rung: int | None = None

    @property
    def halving(self) -> Halving | None:
        return self.cell.trial.halving if self.cell.trial else None

    @property
    def output(self) -> Path:
        """The file that is there when nothing is left."""
        return CellPaths(self.out).rung(self.rung) if self.rung else CellPaths(self.out).record

    @property
    def parts(self) -> int:
        """How many trainings there can be: one; under successive halving each rung and the end, if files were lost."""
        return 1 if self.halving is None else 2 * (len(self.halving.rungs) + 1)

    def next(self) -> Part | None:
        """What is to be trained now; None if nothing is left.

        Under successive halving it writes what needs no training: the record of a trial that is stopped, and rungs that
        a trial will not reach. Call it under the lease of the cell then, and again after each part. Raises BenchError
        where a rival has not been to the rung that decides.
        """
        record = recorded(self.out, self.inputs)
        if self.halving is None:
            return None if record else Part()
        if record is None:
            last = len(self.halving.rungs)
            for number in range(1, (self.rung or last + 1)):
                own = self._own(number)
                if own is None:
                    return Part(number)
                if not self._goes_on(number):
                    record = self._stop(own)
                    if record is None:
                        return Part(number)
                    break
            else:
                if self.rung is None:
                    return Part()
                return None if self._own(self.rung) else Part(self.rung)
        self._close(record)
        return None

    def _own(self, number: int) -> Rung | None:
        """What the trial scored at that rung; None where it has to be trained to it."""
        file = CellPaths(self.out).rung(number)
        try:
            rung = read_rung(file)
        except BenchError as error:
            logger.warning("%s", error)
            return None
        if rung is None or rung.trial != self.inputs.identity or rung.status != "ok" or rung.stopped:
            return None
        return rung

    def _goes_on(self, number: int) -> bool:
        """Whether the trial is among the best at that rung."""
        assert self.cell.trial is not None
        assert self.halving is not None
        fingerprint = str(self.inputs.data_manifest["fingerprint"])
        found: dict[str, list[Rung]] = {}
        for rival in self.rivals:
            assert rival.trial is not None
            own = rival.id == self.cell.id
            folder = CellPaths(self.out) if own else self.paths.cell(rival.id)
            rung = read_rung(folder.rung(number))
            if rung is None or rung.trial != rival.identity(fingerprint):
                where = f"--point {rival.trial.point} --seed {rival.seed} --rung {number}"
                raise BenchError(
                    f"{self.cell.id}: whether it goes on from rung {number} is not known: {rival.id} is not trained to "
                    f"it; run `bench train ... {where}`"
                )
            found.setdefault(rival.trial.point, []).append(rung)
        return self.cell.trial.point in going_on(found, compared_by(self.cell), self.halving.factor)

    def _stop(self, own: Rung) -> Record | None:
        """Write the record of a trial that is stopped at a rung; None where its files are not there any more."""
        if own.record is None:
            return None
        write_record(Record.model_validate(own.record), self.out)
        return recorded(self.out, self.inputs)

    def _close(self, record: Record) -> None:
        """The trial has its record: remove its checkpoints, and write the rungs up to `rung` that have no file."""
        if record.status != "failed":
            shutil.rmtree(CachePaths(self.cache).checkpoints(self.inputs.identity, self.out), ignore_errors=True)
        for number in range(1, (self.rung or 0) + 1):
            file = CellPaths(self.out).rung(number)
            if not _says(file, record, number):
                write_rung(Rung.of(record, number), file)


def keep_rung(record: Record, number: int, out: Path) -> None:
    """Write what a trial scored at a rung, with the record that it has if it is stopped there."""
    rung = Rung.of(record, number).model_copy(update={"record": as_data(record)})
    write_rung(rung, CellPaths(out).rung(number))


def earlier_scores(cell: Cell, out: Path, identity: str, rung: int | None) -> tuple[RungScore, ...]:
    """The scores of the rungs before `rung` (None: of all), as far as the trial has been to them."""
    halving = cell.trial.halving if cell.trial else None
    scores: list[RungScore] = []
    for number in range(1, rung if rung else len(halving.rungs) + 1 if halving else 1):
        found = read_rung(CellPaths(out).rung(number))
        if found is None or found.trial != identity or found.stopped or found.score is None:
            break
        scores.append(found.score)
    return tuple(scores)


def _says(file: Path, record: Record, number: int) -> bool:
    """Whether the rung in `file` is what `record` says of it."""
    try:
        found = read_rung(file)
    except BenchError:
        return False
    return found is not None and found.model_copy(update={"record": None}) == Rung.of(record, number)
