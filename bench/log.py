"""The log of a process: standard logging to stderr, a progress bar, and how long the process has run.

Modules log with `logging.getLogger(__name__)`. A process that runs a command or trains a cell calls
`configure_logging` first.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

FORMAT = "%(asctime)s %(cell)s%(levelname)s: %(message)s"
RECENT_LINES = 40  # as many as the record of a failure keeps
LINE_INTERVAL = 30.0  # seconds between two lines of progress where stderr is no terminal

_imported_at = time.monotonic()
_waited = [0.0]  # seconds spent waiting for another process: no cell's time
_logger = logging.getLogger(__name__)


class _StderrHandler(logging.Handler):
    """Writes to whatever stderr is now, above the progress bars of a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm  # imported late: Snakemake reads this module each time it parses its rules

        tqdm.write(self.format(record), file=sys.stderr)


class _RecentLines(logging.Handler):
    """Keeps the last lines of the log for the record of a failure."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = deque[str](maxlen=RECENT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.extend(self.format(record).splitlines())


_stderr, _recent = _StderrHandler(), _RecentLines()


def configure_logging(cell_id: str | None = None) -> None:
    """Write the project's log to stderr, each message with its time, its level and the cell that the process trains."""
    formatter = logging.Formatter(FORMAT, defaults={"cell": f"{cell_id} " if cell_id else ""})
    logger = logging.getLogger("bench")
    logger.setLevel(logging.INFO)
    for handler in (_stderr, _recent):
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    # At its import it warns that an optional kernel for CPUs is not installed, in every process that imports PEFT.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def recent_lines() -> tuple[str, ...]:
    """The last lines that went to the log, tracebacks included."""
    return tuple(_recent.lines)


def process_age() -> float:
    """Seconds since this process began, its imports included, less what it spent `waiting`.

    The kernel's clock is used, which nobody sets. Where there is no /proc the seconds count from this module's import.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        age = time.monotonic() - _imported_at
    return age - _waited[0]


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Around a wait for another process."""
    began = time.monotonic()
    _logger.warning("waiting for %s", what)
    try:
        yield
    finally:
        _waited[0] += time.monotonic() - began


def progress_bar(
    total: int, *, what: str = "", initial: int = 0, unit: str = "step", enabled: bool = True
) -> tqdm[Any]:
    """A tqdm bar on a terminal, a line in the log every LINE_INTERVAL seconds elsewhere, nothing if not `enabled`.

    Example:
        >>> with progress_bar(len(batches)) as bar:
        ...     for batch in batches:
        ...         train(batch)
        ...         bar.update()
    """
    from tqdm import tqdm

    class LoggedProgress(tqdm):  # type: ignore[misc]  # tqdm has no types
        """Progress as lines of the log: a file would keep every state of a bar that is redrawn in place."""

        monitor_interval = 0  # no thread that adapts `miniters`, which is fixed below

        def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002 (as in tqdm)
            _logger.info("%s", str(self) if msg is None else msg)

    terminal = sys.stderr.isatty()
    options: dict[str, Any] = {
        "total": total,
        "initial": initial,
        "desc": what or None,
        "unit": unit,
        "miniters": 1,
        "disable": not enabled,
    }
    if terminal:
        return tqdm(**options, mininterval=0.1, leave=False, dynamic_ncols=True)
    return LoggedProgress(
        **options,
        mininterval=LINE_INTERVAL,
        maxinterval=LINE_INTERVAL,
        delay=LINE_INTERVAL,
        file=io.StringIO(),
        bar_format="{desc}{n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {elapsed} passed, {remaining} left",
    )
