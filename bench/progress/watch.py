"""`bench status STUDY --watch`: the progress of a run from another terminal, or from another node."""

from __future__ import annotations

import sys
from contextlib import suppress

from bench.pipeline.run_options import RunOptions
from bench.pipeline.study import Pipeline
from bench.progress.follower import Follower
from bench.progress.lines import ending
from bench.progress.reporter import INTERVAL, Reporter


def watch_study(options: RunOptions) -> None:
    """Show where the study is, until every cell is done or failed and nothing runs, or until Ctrl-C.

    Raises BenchError as `RunOptions.load_study` does.
    """
    study = options.load_study()
    reporter = Reporter(Follower(Pipeline(study, study.cells, options)).poll, sys.stdout)
    with suppress(KeyboardInterrupt):
        reporter.start()
        while not (reporter.last and reporter.last.complete and not reporter.last.doing):
            reporter.wait(INTERVAL)
    reporter.stop()
    for line in ending(options.paths):
        print(line)
