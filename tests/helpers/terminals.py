"""A real terminal, of Python's pty, in which a program runs."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`command` in a terminal of its own, as the foreground job of a shell. `shown` is all it has written so far."""

    def __init__(self, command: Sequence[str], folder: Path, *, columns: int = 80, lines: int = 24) -> None:
        self._mine, theirs = os.openpty()
        self.shown = ""
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=_environment(columns, lines),
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)

    @property
    def plain(self) -> str:
        """What was written, without control sequences."""
        return CONTROL.sub("", self.shown)

    def until(self, text: str, seconds: float = 120) -> None:
        """Wait until `text` was written. Fails after that many seconds, and at the program's end."""
        end = time.monotonic() + seconds
        while text not in self.plain:
            assert time.monotonic() < end, f"{text!r} is not shown:\n{self.plain[-3000:]}"
            assert self._read(0.2), f"it ended without {text!r}:\n{self.plain[-3000:]}"

    def press_ctrl_c(self) -> None:
        os.write(self._mine, b"\x03")

    def code(self, seconds: float = 180) -> int:
        """The exit code, once the program has ended."""
        end = time.monotonic() + seconds
        while self._read(0.2):
            assert time.monotonic() < end, f"it does not end:\n{self.plain[-3000:]}"
        os.close(self._mine)
        return self._process.wait(10)

    def _read(self, seconds: float) -> bool:
        """Read what is there, or comes within so many seconds. False once the program has ended."""
        if not select.select([self._mine], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._mine, 1 << 16)
        except OSError:  # Linux says so at the end of the last process that has the terminal
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def _environment(columns: int, lines: int) -> Mapping[str, str]:
    """This process's, without what tells programs to treat a pipe as a terminal, or the other way round."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "CI", "TTY_COMPATIBLE")}
    return {**kept, "TERM": "xterm", "COLUMNS": str(columns), "LINES": str(lines), "OMP_NUM_THREADS": "1"}


def _take_terminal() -> None:
    """In the child: Ctrl-C in the terminal reaches it, and is not ignored as behind a shell's &."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
