"""The errors that the harness tells a person: one base class, and one exit code per kind of error.

Exit code 2 means bad input: nothing was started, nothing was lost. Exit code 75 means a fault that may pass, and
Snakemake tries again.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

EXIT_BAD_INPUT = 2
EXIT_TRY_AGAIN = 75
DISK_FULL = "disk full"  # how the message of that fault begins


class BenchError(Exception):
    """Bad input or a bad environment. The command line prints its message without a traceback."""

    exit_code = EXIT_BAD_INPUT


class TransientError(BenchError):
    """A fault that another attempt may not meet, such as a signal or a full disk. Snakemake starts the job again."""

    exit_code = EXIT_TRY_AGAIN


@dataclass(frozen=True)
class Problem:
    """One fault in one file. `line` and `column` count from 1; 0 means that they are not known."""

    file: Path
    message: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else str(self.file)
        return f"{place}: {self.message}"


class FaultAt(ValueError):
    """What is wrong with several keys together, at the one of them where a reader should look: `key`, with dots."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(message)


class SpecError(BenchError):
    """All faults that were found in the YAML files of a study."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(p) for p in self.problems))

    def __reduce__(self) -> tuple[type[SpecError], tuple[list[Problem]]]:
        """How it comes out of another process, where an exception is rebuilt from its arguments."""
        return SpecError, (self.problems,)


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint to append to a message about the unknown `name`; empty where there is no valid name.

    >>> nearest("acuracy", ["accuracy", "mcc"])
    " (did you mean 'accuracy'?)"
    >>> nearest("x", ["accuracy", "mcc"])
    ' (valid: accuracy, mcc)'
    """
    names = sorted(set(valid))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (valid: {', '.join(names)})" if names else ""
