"""Train and evaluate several cells of one task in one job: each as `bench train` would, bit for bit, but the libraries
are imported once. A cell that fails does not keep the others from their records.

Records and logs stand where the pipeline has them, below RESULTS/STUDY/cells and RESULTS/STUDY/logs.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

from bench.cli.options import add_tries, cache_of, study_of
from bench.cli.train import settle, train_one
from bench.errors import EXIT_TRY_AGAIN, BenchError
from bench.estimate.jobs import gpus
from bench.paths import StudyPaths
from bench.pipeline.gpus import hold_gpus
from bench.trackers.available import check_tracker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", required=True, metavar="S")
    parser.add_argument("--task", required=True, metavar="T")
    parser.add_argument("--cells", required=True, nargs="+", metavar="M/B/K", help="method/budget/seed of each")
    add_tries(parser)


def run(args: argparse.Namespace) -> int:
    """0 once every record stands; else the largest exit code of a cell. Raises BenchError."""
    from bench.training.done import inputs_of, recorded
    from bench.training.group import Group

    study = study_of(args, reads=True)
    check_tracker(study.study)
    paths = StudyPaths(args.results, study.name)
    cells = []
    for name in args.cells:
        parts = name.split("/")
        if len(parts) != 3 or not parts[2].isdecimal():
            raise BenchError(f"--cells: expected method/budget/seed, such as lora/small/0, found {name!r}")
        cells.append(study.find(args.task, parts[0], parts[1], int(parts[2])))
    settle(cells, args)
    places = {cell.id: paths.cell(cell.id).folder for cell in cells}
    missing = [c for c in cells if recorded(places[c.id], inputs_of(c, cache_of(args), args.mirror)) is None]
    for cell in cells:
        if cell not in missing:
            paths.cell(cell.id).record.touch()  # Snakemake compares times
    if not missing:
        return 0
    worst = 0
    with hold_gpus(max(gpus(cell, study.study) for cell in missing)) as held:
        group = Group(on_gpu=bool(held))
        with group.passing_signals():
            for cell in missing:
                if group.stopped is not None:
                    return EXIT_TRY_AGAIN
                log = paths.log(cell.id)
                code = group.run(partial(train_one, cell, places[cell.id], args, study.study.tracker), log)
                print(f"{cell.id}: {'recorded' if code == 0 else f'exit code {code}, see {log}'}", file=sys.stderr)
                worst = max(worst, code)
    return worst
