"""What is left to do in a study that tunes, in words beside Snakemake's list of jobs.

Snakemake plans the final cells of a group whenever a trial of it runs, because their choice may change. Whether it does
is known only afterwards: a job whose cell is recorded with the same choice trains nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from bench.config.cell import Cell
from bench.pipeline.failures import MOST_SHOWN
from bench.pipeline.study import Pipeline


def announce_unfinished(pipeline: Pipeline) -> None:
    """Print how many trials and final cells have no record, and which ones may stay as they are.

    Nothing if the study does not tune, or if all are recorded. It asks whether files exist, and reads none.
    """
    trials, cells = _without_record(pipeline, pipeline.trials), _without_record(pipeline, pipeline.cells)
    if not pipeline.trials or (not trials and not cells):
        return
    lines = [
        f"{len(trials)} of {len(pipeline.trials)} trials and {len(cells)} of {len(pipeline.cells)} final cells have no "
        "record yet"
    ]
    missing = {cell.id for cell in cells}
    changing = {trial.group for trial in trials}
    groups = list(dict.fromkeys(c.group for c in pipeline.cells if c.group in changing and c.id not in missing))
    if groups:
        names = ", ".join(groups[:MOST_SHOWN])
        more = f" and {len(groups) - MOST_SHOWN} more groups" if len(groups) > MOST_SHOWN else ""
        lines.append(f"the recorded final cells of {names}{more} are trained again only if the choice changes")
    print("\n".join(f"{pipeline.study.name}: {line}" for line in lines), file=sys.stderr, flush=True)


def _without_record(pipeline: Pipeline, cells: Sequence[Cell]) -> list[Cell]:
    files = pipeline.records_of(cells)
    return [cell for cell, file in zip(cells, files, strict=True) if not os.path.isfile(file)]
