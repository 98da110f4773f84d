"""What the harness tells a person: one base class, one exit code a kind of error.

Exit codes: 2 bad input (nothing was started, nothing was lost), 75 try again (a transient fault; Snakemake retries).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

EXIT_BAD_INPUT = 2
EXIT_TRY_AGAIN = 75


class BenchError(Exception):
    """Bad input or a bad environment, told in one clear message. The command line prints it without a traceback."""

    exit_code = EXIT_BAD_INPUT


class TransientError(BenchError):
    """A fault that another try may not meet again (a signal, a full disk): the job ends, Snakemake starts it anew."""

    exit_code = EXIT_TRY_AGAIN


@dataclass(frozen=True)
class Problem:
    """One fault in one file. `line` and `column` count from 1; 0 means unknown."""

    file: Path
    message: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else str(self.file)
        return f"{place}: {self.message}"


class SpecError(BenchError):
    """One or more faults in the files that describe a study."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


def nearest(name: str, valid: Iterable[str]) -> str:
    """' (did you mean ...?)' with the closest valid name, or the list of valid names where none is close."""
    names = sorted(set(valid))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (valid: {', '.join(names)})" if names else ""
