"""Snakemake's `--logger rankbench`, which profiles/default/config.yaml switches on.

Snakemake finds a logger by the name of its top-level package, and imports the package in each of its processes, those
of jobs included. So all of it is in bench/progress/, which imports what draws only when a run begins.
"""

from bench.progress.log_handler import LogHandler

__all__ = ["LogHandler"]
