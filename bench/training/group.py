"""Several cells, one or some at a time, each in a process of its own that starts with the libraries already imported.

The processes come from multiprocessing's fork server, which has imported the libraries and done nothing else: nothing
is drawn, no memory of a model is allocated and no thread runs. A cell's results, its peak memory and its faults are
therefore its own, as in a process that trains it alone; only the time of the imports is missing.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from bench.errors import BenchError
from bench.training.signals import SIGNALS, handled_by

KILLED = 128  # plus the signal's number: the exit code that a shell reports
PRELOAD = ["bench.training.run"]
# A process that has only asked whether there is a GPU must not fork: its children could not use it ("Cannot
# re-initialize CUDA in forked subprocess"). PEFT imports bitsandbytes, which asks; these modules don't.
PRELOAD_FOR_GPU = ["torch", "transformers.modeling_utils", "bench.engine.step", "bench.inputs.datasets"]
DRIVER = "libcuda.so.1"  # torch finds no GPU where this library is missing


@dataclass(frozen=True)
class Job:
    """A function that a process of its own is to run, whose output goes to `log`; `name` is another one for each."""

    name: str
    function: Callable[[], None]
    log: Path


class Group:
    """Runs functions in processes forked from one server.

    Construct it after the environment variables are set, because the server passes them on. `stopped` is the signal
    that asked this process to stop, if any; it was passed on to all that run.
    """

    def __init__(self) -> None:
        self.stopped: int | None = None
        self._running: dict[str, BaseProcess] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD_FOR_GPU if may_see_gpus() else PRELOAD)
        # A signal to the whole job reaches the server too. It must outlive the cell that saves its checkpoint, so it
        # starts with these signals blocked; each child unblocks them. The server starts multiprocessing's tracker of
        # resources where that does not run yet, which unblocks signals: it is started before.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def run(self, jobs: Sequence[Job], at_once: int = 1) -> Iterator[tuple[str, int]]:
        """Run each job in a new process, up to `at_once` of them at the same time, and none after a signal to stop.

        Yields, in the order in which they end, the name of each and its exit code: 0, that of the BenchError it raised,
        1 for another exception, or KILLED plus the number of the signal that ended it.
        """
        waiting = list(jobs)
        while True:
            while waiting and len(self._running) < at_once and self.stopped is None:
                self._start(waiting.pop(0))
            if not self._running:
                return
            connection.wait([process.sentinel for process in self._running.values()])
            for name, process in list(self._running.items()):
                if process.exitcode is not None:
                    del self._running[name]
                    yield name, process.exitcode if process.exitcode >= 0 else KILLED - process.exitcode

    @contextmanager
    def passing_signals(self) -> Iterator[None]:
        """Inside, signals that ask to stop go to the running cells, which save a checkpoint and end."""
        with handled_by(self._pass):
            yield

    def _start(self, job: Job) -> None:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        process = self._context.Process(target=_run_logged, args=(job.function, job.log))
        process.start()
        self._running[job.name] = process
        if self.stopped is not None:  # the signal came while it started
            _send(process, self.stopped)

    def _pass(self, number: int, _frame: FrameType | None) -> None:
        self.stopped = number
        for process in list(self._running.values()):
            _send(process, number)


def _send(process: BaseProcess, number: int) -> None:
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(process.pid, number)


def may_see_gpus() -> bool:
    """Whether torch could find a GPU in a process started now; asks neither torch nor CUDA.

    What lists GPUs may be missing where the driver is not, as in containers, so the driver's own library decides.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return False
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def _run_logged(function: Callable[[], None], log: Path) -> None:
    """The main function of a child process. multiprocessing prints any exception but a BenchError, and exits with 1."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        function()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
