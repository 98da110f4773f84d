"""Let Snakemake see, when the pipeline starts, that a record was made under another spec.

Snakemake compares the spec of each cell with the one that it noted in its folder `.snakemake`. Where it has no such
note, it takes every record for today's: of results that were copied from another machine, of cells that were trained by
hand, and after that folder was deleted.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from bench.config.cell import Cell
from bench.errors import BenchError
from bench.pipeline.status import with_known_choices
from bench.pipeline.study import Pipeline

# Nanoseconds by which a record is dated back: 32 years, so that it is older than all that it depends on. Its own time
# can be had again from that.
SHIFT = 10**18


def age_outdated_records(pipeline: Pipeline) -> None:
    """Date every record of another spec back, so that Snakemake trains its cell again where it is wanted.

    Nothing else of a record changes, and one whose spec is today's again has its own time again. Cells whose choice or
    ranks are not known yet are left out: their trials or donors decide.
    """
    study = with_known_choices(pipeline.study, pipeline.options.results)
    wanted = {cell.id for cell in pipeline.cells}
    cells = [*pipeline.trials, *(cell for cell in study.cells if cell.id in wanted and not study.awaits(cell))]
    for cell in cells:
        file = pipeline.paths.cell(cell.id).record
        with suppress(OSError):  # there is none, or it is not this user's: then the run says so where it writes
            time, outdated = file.stat().st_mtime_ns, _is_outdated(file, cell)
            if outdated != (time < SHIFT):
                time += -SHIFT if outdated else SHIFT
                os.utime(file, ns=(time, time))


def _is_outdated(file: Path, cell: Cell) -> bool:
    """Whether the record names another spec. False for what can't be read: `bench status` names it."""
    from bench.records.io import plain_record  # late: Snakemake reads this module each time it parses its rules

    try:
        return bool(plain_record(file)["cell"]["spec_hash"] != cell.spec_hash)
    except (ValueError, KeyError, TypeError, RecursionError, BenchError):
        return False
