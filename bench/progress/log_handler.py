"""Snakemake's messages on the terminal, with the progress of cells in place of its blocks per job.

Snakemake calls it through its interface for loggers. It imports nothing that draws until a run begins: Snakemake loads
this module in each of its processes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

if TYPE_CHECKING:
    from bench.pipeline.study import Pipeline
    from bench.progress.jobs import SnakemakeJobs
    from bench.progress.reporter import Reporter

# Of messages without an event, those that come with each job. The others are shown: what is waited for, what ends.
ROUTINE = (
    "Select jobs to execute",
    "Touching output file",
    "Using shell",
    "Trying to restart job",
    "Job rate limit reached",
    "--keep-incomplete mode is set",  # by the Snakefile, which says why
)
ERROR_STYLE = "red"
ROUTINE_IN_SLURM = "has been submitted with SLURM jobid"
# In Snakemake's file, for those who need it.
HEADER = (
    LogEvent.WORKFLOW_STARTED,
    LogEvent.RESOURCES_INFO,
    LogEvent.JOB_STARTED,
)
OF_JOBS = (LogEvent.JOB_FINISHED, LogEvent.GROUP_INFO, LogEvent.SHELLCMD, LogEvent.PROGRESS)
BY_HAND = ("tables", "figures", "page")  # targets that print what they make
PREPARING, MAKING = ("prepare_model", "prepare_data"), {"views": "making tables, figures and page"}


def follow(pipeline: Pipeline, handlers: Iterable[logging.Handler]) -> None:
    """Tell the handler among those of a run, if it is there, which cells the run is about."""
    for handler in handlers:
        if isinstance(handler, LogHandler):
            handler.pipeline = pipeline


class LogHandler(LogHandlerBase):
    """Shows a run of the pipeline. All else is shown as Snakemake shows it: errors, warnings, --lint, --unlock.

    Whoever asks Snakemake for another output (a dry run, --quiet, --verbose, --printshellcmds, --debug-dag) gets that,
    from Snakemake's own handler.
    """

    def __post_init__(self) -> None:
        asked = self.common_settings
        self._passive = bool(
            asked.dryrun or asked.quiet or asked.verbose or asked.printshellcmds or asked.debug_dag or asked.stdout
        )
        self.pipeline: Pipeline | None = None
        self._began = False
        self._jobs: SnakemakeJobs | None = None
        self._reporter: Reporter | None = None
        self._plain: logging.Handler | None = None

    @property
    def writes_to_stream(self) -> bool:
        return not self._passive

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return False

    @property
    def has_formatter(self) -> bool:
        return False

    @property
    def needs_rulegraph(self) -> bool:
        return False

    def emit(self, record: logging.LogRecord) -> None:
        if self._passive:
            return
        try:
            if not self._noted(getattr(record, "event", None), record):
                self._show(record)
        except Exception:  # as all handlers do: a fault in what is shown must not end what runs
            self.handleError(record)

    def close(self) -> None:
        """The end of the run, or of a Snakemake that ran nothing."""
        if self._reporter is not None:
            self._reporter.stop()
            self._reporter = None
        if self._began and self.pipeline is not None:
            from bench.progress.lines import ending

            self._began = False
            for line in ending(self.pipeline.paths):
                print(line, file=sys.stderr, flush=True)
        super().close()

    def _noted(self, event: LogEvent | None, record: Any) -> bool:
        """Take note of what is said about jobs. False if the message is to be shown as it is."""
        self._began = self._began or event == LogEvent.WORKFLOW_STARTED
        if self.pipeline is None or event in HEADER:
            return event in HEADER
        if event is None:
            text = str(record.msg)
            routine = text.startswith(ROUTINE) or ROUTINE_IN_SLURM in text
            return routine and bool(record.levelno <= logging.WARNING)
        if event == LogEvent.RUN_INFO:  # the counts of jobs: the picture has those of cells
            from bench.progress.reporter import is_terminal

            return is_terminal(sys.stderr)
        if event == LogEvent.JOB_INFO:
            self._started(self.pipeline, record)
        if self._reporter is None or self._jobs is None:
            return False
        if event == LogEvent.JOB_FINISHED:
            self._jobs.ended(record.job_id)
        if event == LogEvent.JOB_ERROR:
            return self._failed(record.jobid, record.log)
        if event == LogEvent.GROUP_ERROR:
            followed = [self._failed(job["jobid"], job["log"]) for job in record.job_error_info]
            return all(followed)
        if event == LogEvent.ERROR:  # that a command failed, after the message of its job
            return "CalledProcessError" in str(record.msg)
        return event in OF_JOBS or event == LogEvent.JOB_INFO

    def _started(self, pipeline: Pipeline, record: Any) -> None:
        """A job starts. The first one that is not about views alone begins the report."""
        from bench.progress.jobs import SnakemakeJobs

        if self._jobs is None:
            self._jobs = SnakemakeJobs(pipeline)
        rule, names = record.rule_name, record.wildcards
        doing = f"preparing {next(iter(names.values()))}" if rule in PREPARING else MAKING.get(rule, "")
        self._jobs.started(record.jobid, record.output, doing, here=record.local)
        if self._reporter is None and rule not in BY_HAND:
            from bench.progress.follower import Follower
            from bench.progress.reporter import Reporter

            color = not self.common_settings.nocolor
            self._reporter = Reporter(Follower(pipeline, self._jobs).poll, sys.stderr, color=color)
            self._reporter.start()

    def _failed(self, number: int, logs: Sequence[str]) -> bool:
        """A job failed: name it at once. False if it is none that is followed."""
        assert self._jobs is not None
        assert self._reporter is not None
        failed = self._jobs.failed(number, logs)
        if failed is None:
            return False
        if not failed.job.cells:
            why = f"{failed.failure.message} (whole log: {failed.failure.log})"
            self._reporter.write([f"failed {failed.job.doing}: {why}"], ERROR_STYLE)
        self._reporter.look()
        return True

    def _show(self, record: logging.LogRecord) -> None:
        if self._reporter is not None:
            text = self.format(record)
            if text and text != "None":
                self._reporter.write([text], ERROR_STYLE if record.levelno >= logging.ERROR else "")
            return
        if self._plain is None:
            from snakemake.logging import ColorizingTextHandler

            self._plain = ColorizingTextHandler(self.common_settings.nocolor, sys.stderr, self.formatter)
        self._plain.emit(record)
