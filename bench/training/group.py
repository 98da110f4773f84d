"""Several cells one after another, each in a child of one process: the libraries are imported once.

A child starts as the parent is after its imports: nothing drawn, nothing allocated, no thread. So a cell's bits, its
peak memory and its faults are its own, as in a process that trains it alone; what it does not see is the time of the
imports.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from bench.errors import BenchError
from bench.training.signals import SIGNALS, handled_by

KILLED = 128  # plus the signal's number: as a shell tells it


class Group:
    """Runs functions in children. `stopped` names the signal that asked to end, which the running child got too."""

    def __init__(self) -> None:
        self.stopped: int | None = None
        self._child: int | None = None

    def run(self, function: Callable[[], None], log: Path) -> int:
        """The exit code of `function` in a child whose output is `log`: 0, a BenchError's, 1, or KILLED + signal."""
        log.parent.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            os._exit(_in_child(function, log))
        self._child = child
        if self.stopped is not None:  # it came between two children
            os.kill(child, self.stopped)
        _, status = os.waitpid(child, 0)
        self._child = None
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else KILLED - code

    @contextmanager
    def passing_signals(self) -> Iterator[None]:
        """Signals that ask to stop go to the child, which saves where it is."""
        with handled_by(self._pass):
            yield

    def _pass(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (a signal handler)
        self.stopped = number
        if self._child is not None:
            os.kill(self._child, number)


def _in_child(function: Callable[[], None], log: Path) -> int:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    code = 1
    try:
        function()
        code = 0
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code
