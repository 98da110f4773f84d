"""Run checks one after another, in processes that may crash or hang without taking the others with them.

A process runs as many checks as go well, since imports take seconds. After an exception it is replaced, because an
error of CUDA stays with its process.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import takewhile
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from bench.errors import BenchError
from bench.pipeline.gpus import hold_gpus
from bench.pipeline.job import set_library_environment
from bench.selfcheck.check import Check, Finding, Outcome, Place

READY = "ready"
END = 10.0  # seconds
PARENT_CHECK = 0.5  # seconds between two looks whether the parent is alive
Answer = tuple[Finding, bool]  # a finding, and whether the process is whole after it


def run_checks(
    checks: Sequence[Check], place: Place, log: Path, told: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """The outcome of each check, in their order; `told` gets each as soon as it is there. They print to `log`.

    After a needed check that fails, all others are skipped.
    """
    outcomes: list[Outcome] = []
    while len(outcomes) < len(checks):
        left = checks[len(outcomes) :]
        failed = [
            check.name for check, outcome in zip(checks, outcomes, strict=False) if check.needed and outcome.failed
        ]
        for outcome in _skipped(left, failed[0]) if failed else _in_a_process(_alike(left), place, log):
            outcomes.append(outcome)
            told(outcome)
    return outcomes


def _alike(checks: Sequence[Check]) -> list[Check]:
    """The first of `checks` that one process may run: all of them share it, or each needs one without a model."""
    return list(takewhile(lambda check: check.alone == checks[0].alone, checks))


def _skipped(checks: Sequence[Check], failed: str) -> Iterator[Outcome]:
    for check in checks:
        yield Outcome(check.name, check.question, check.advice, Finding("skipped", f"{failed} failed"), 0.0)


def _in_a_process(checks: Sequence[Check], place: Place, log: Path) -> Iterator[Outcome]:
    """The outcomes of `checks` up to the first after which their process can't be used: of one at least."""
    context = get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(tuple(checks), place, log, sending))
    process.start()
    sending.close()
    try:
        with suppress(EOFError):
            receiving.recv()  # it is ready, which may wait for a free GPU
        for check in checks:
            began = time.monotonic()
            finding, whole = _answer(receiving, check.limit)
            outcome = Outcome(check.name, check.question, check.advice, finding, time.monotonic() - began)
            yield outcome
            if not whole or (check.needed and outcome.failed):
                return
        process.join(END)  # it cleans up behind its own processes
    finally:
        _kill_with_children(process)
        process.join()
        receiving.close()


def _kill_with_children(process: BaseProcess) -> None:
    """End the process and what it has started: cells of a check that hangs would hold a GPU from then on."""
    process.kill()
    with suppress(ProcessLookupError, PermissionError):  # none is left, or it had no time to make a group of its own
        if process.pid is not None:
            os.killpg(process.pid, signal.SIGKILL)


def _end_with_parent() -> None:
    """From now on end this process and what it starts when its parent has ended, which may have been killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _answer(receiving: Connection, limit: float) -> Answer:
    if not receiving.poll(limit):
        return Finding("fail", f"no answer in {limit:.0f} seconds"), False
    try:
        answer: Answer = receiving.recv()
    except EOFError:
        return Finding("fail", "its process ended without an answer"), False
    return answer


def _work(checks: Sequence[Check], place: Place, log: Path, sending: Connection) -> None:
    """The main function of a process that runs checks."""
    os.setpgid(0, 0)  # so that what it starts can be ended with it; ctrl-C reaches the parent alone, which does so
    _end_with_parent()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    set_library_environment(threads=1)
    with ExitStack() as stack:
        try:
            if not checks[0].alone:  # what starts `bench` leaves it to that process
                stack.enter_context(hold_gpus(1 if place.device == "cuda" else 0))
        except BenchError as error:
            sending.send(READY)
            sending.send((Finding("fail", str(error)), False))
            return
        sending.send(READY)
        for check in checks:
            print(f"== {check.name}", flush=True)
            answer = _run(check, place)
            sending.send(answer)
            if not answer[1]:
                return


def _run(check: Check, place: Place) -> Answer:
    try:
        return check.run(place), True
    except Exception as error:  # whatever it is, it is what was to be found out
        traceback.print_exc()
        text = str(error).strip().partition("\n")[0]
        return Finding("fail", f"{type(error).__name__}: {text}", {"traceback": traceback.format_exc()}), False
