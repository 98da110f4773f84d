"""What a check is, what it finds, and where it works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Result = Literal["pass", "fail", "skipped"]


@dataclass(frozen=True)
class Place:
    """A folder for the files of a check, the kind of device that it works on, and whether more is to be checked."""

    folder: Path
    device: Literal["cpu", "cuda"]
    deep: bool = False

    @property
    def study(self) -> str:
        """The study whose shapes are checked: on a GPU those that it is for, on the CPU small ones."""
        return "paper" if self.device == "cuda" else "demo"


@dataclass(frozen=True)
class Finding:
    """What a check found, in a few words, with numbers for a bug report as plain JSON."""

    result: Result
    found: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One question about this machine.

    name: for the command line. question: what holds where it passes. advice: what to do where it fails. run: answers
    it; an exception is a failure. alone: in a process without a model or a GPU, because it starts others that need
    them. needed: no later check can say anything where this one fails. limit: seconds after which it counts as hung.
    """

    name: str
    question: str
    advice: str
    run: Callable[[Place], Finding]
    alone: bool = False
    needed: bool = False
    limit: float = 600.0


@dataclass(frozen=True)
class Outcome:
    """A check and what came of it; seconds that it took."""

    name: str
    question: str
    advice: str
    finding: Finding
    seconds: float

    @property
    def failed(self) -> bool:
        return self.finding.result == "fail"


def judged(passed: bool, found: str, **numbers: Any) -> Finding:
    """A finding that passes or fails."""
    return Finding("pass" if passed else "fail", found, numbers)
