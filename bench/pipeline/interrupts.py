"""Ctrl-C, and again: the first one stops the run, and those after it are answered while it stops.

Snakemake would break off with a traceback at the second, while its jobs still save their checkpoints.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

ANSWER = b"\nstopping: running cells save a checkpoint and end, within seconds; Ctrl-\\ ends them at once\n"


def answer_interrupts() -> None:
    """Let this process stop once, however often Ctrl-C is pressed. It does nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return
    interrupted = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            os.write(2, ANSWER)  # print could be what is interrupted
            return
        interrupted = True
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it is ignored behind a shell's &
        signal.signal(signal.SIGINT, handle)
