"""The ranks that cells take over, read from the records of the cells that have learned them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.config.cell import Cell, GivenRanks
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError
from bench.paths import StudyPaths
from bench.records.io import record_at
from bench.records.schema import Record
from bench.tuning.choose import chosen_cell


def with_ranks(study: ResolvedStudy, cell: Cell, results: Path) -> Cell:
    """`cell` with the ranks that it takes over; as it is if it takes over none.

    A cell that diverged or ran out of memory has no ranks to give, and whoever takes them over can't be trained either:
    its record will say so. Raises BenchError if the other cell has no record of its spec, or one that can't be read.
    """
    if not study.awaits_ranks(cell):
        return cell
    donor = study.donor(cell)
    assert donor is not None  # it awaits its ranks
    given = _ranks_of(study, donor, results)
    if given is None:
        raise BenchError(f"{cell.id}: its ranks are those of {donor.id}, which has no record of its spec")
    return cell.model_copy(update={"given": given})


def with_recorded_ranks(cell: Cell, record: Record) -> Cell:
    """`cell`, whose donor has no record here, with the ranks that its own `record` was made with; without, as it is."""
    given = record.spec.get("given")
    return cell if given is None else cell.model_copy(update={"given": GivenRanks.model_validate(given)})


def with_known_ranks(study: ResolvedStudy, results: Path) -> ResolvedStudy:
    """`study` with the ranks in every cell that takes them over and whose donor is recorded; the others await theirs.

    A record that can't be read counts as none here: whoever looks at that cell itself says so.
    """
    if not any(map(study.awaits_ranks, study.cells)):
        return study
    known: dict[str, GivenRanks | None] = {}  # by the donor's id: several cells take over the same ranks
    cells = []
    for cell in study.cells:
        donor = study.donor(cell) if study.awaits_ranks(cell) else None
        if donor is not None and donor.id not in known:
            known[donor.id] = _ranks_if_readable(study, donor, results)
        given = None if donor is None else known[donor.id]
        cells.append(cell if given is None else cell.model_copy(update={"given": given}))
    return replace(study, cells=tuple(cells))


def _ranks_if_readable(study: ResolvedStudy, donor: Cell, results: Path) -> GivenRanks | None:
    try:
        return _ranks_of(study, donor, results)
    except BenchError:
        return None


def _ranks_of(study: ResolvedStudy, donor: Cell, results: Path) -> GivenRanks | None:
    """The ranks that `donor` has learned; None if it has no record of its spec. Raises BenchError for a damaged one."""
    record = record_at(StudyPaths(results, study.name).cell(donor.id).record)
    if record is None or record.cell.spec_hash != chosen_cell(study, donor, results).spec_hash:
        return None
    ranks = {name: rank.end for name, rank in record.ranks.items()} if record.status == "ok" else {}
    return GivenRanks(cell=donor.id, hash=record.cell.hash, ranks=ranks)
