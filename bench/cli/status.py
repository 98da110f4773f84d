"""bench status"""

from __future__ import annotations

from collections import Counter

import click

from bench.cli.options import study_options
from bench.pipeline.run_options import RunOptions


@click.command(short_help="Show what is done, running, failed or missing.")
@study_options
@click.option("--all", "show_all", is_flag=True, help="also list the cells that are done")
@click.option("--verify", is_flag=True, help="read every file of a cell, not only those of up to 100 MB")
@click.option("--rerun-failed", is_flag=True, help="set records of failures aside: the next run trains those cells")
@click.option("--watch", is_flag=True, help="show the progress until all cells are done, or until Ctrl-C")
def status(options: RunOptions, show_all: bool, verify: bool, rerun_failed: bool, watch: bool) -> None:
    """Show what is done, queued, running, failed or missing in a study, trial by trial and cell by cell.

    A record, and the files whose SHA-256 it has, are compared with their checksums.

    On a cluster it asks Slurm about each cell that has no record yet. A cell that waits for its trials is shown as
    waiting. A trial that diverged is a result, which --rerun-failed leaves alone.

    With --watch it draws the counts, the running cells with step, loss and live ranks, and the time left, from another
    terminal than that of the pipeline. Without a terminal it prints a line per event. It takes records as they are.
    """
    if watch:
        if show_all or verify or rerun_failed:
            raise click.UsageError("--watch goes with none of --all, --verify and --rerun-failed")
        from bench.progress.watch import watch_study

        watch_study(options)
        return
    from bench.pipeline.status import LARGEST, cell_states, set_failures_aside, summary

    states = cell_states(options.load_study(), options.results, largest=None if verify else LARGEST)
    for state in states:
        if show_all or state.name != "ok":
            print(f"{state.name:9} {state.cell.id}{': ' if state.detail else ''}{state.detail}")
    counts = Counter(state.name for state in states)
    print(f"{options.study}: {summary(states)}")
    if counts["unreadable"] or counts["damaged"]:
        print("remove the record of a cell that is unreadable or damaged: the next run trains that cell again")
    if rerun_failed:
        renamed = set_failures_aside(states, options.paths)
        print(f"{len(renamed)} records of failures set aside; the next run of Snakemake trains their cells again")
        for file in renamed:
            print(f"  {file}")
