"""The records of a study's cells, each read once: what is shown of it, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.estimate.duration import TimedRecord, timed_record
from bench.records.io import plain_record


@dataclass(frozen=True)
class Recorded:
    """What is shown of a record. `timed`: its durations; None if the training did not finish."""

    spec_hash: str
    status: str
    result: str
    seconds: float | None
    message: str
    timed: TimedRecord | None


class RecordsRead:
    """Reads records as plain JSON. Their checksums are not looked at: `bench status` does that."""

    def __init__(self) -> None:
        self._found: dict[Path, tuple[tuple[int, int], Recorded | None]] = {}
        self.changes = 0  # how often a record was new

    def read(self, file: Path) -> Recorded | None:
        """What the record in `file` says; None if there is none, or none that can be read."""
        try:
            status = file.stat()
        except OSError:
            return None
        version = (status.st_mtime_ns, status.st_size)
        known = self._found.get(file)
        if known is None or known[0] != version:
            known = (version, _parsed(file))
            self._found[file] = known
            self.changes += 1
        return known[1]

    @property
    def timed(self) -> list[TimedRecord]:
        """The durations of all records so far."""
        found = (recorded for _, recorded in self._found.values() if recorded)
        return [recorded.timed for recorded in found if recorded.timed]


def _parsed(file: Path) -> Recorded | None:
    try:
        record = plain_record(file)
        training = record["training"] or {}
        return Recorded(
            spec_hash=record["cell"]["spec_hash"],
            status=record["status"],
            result=_result(record["reported"]),
            seconds=training.get("seconds", {}).get("total"),
            message=record["message"] or "",
            timed=timed_record(record),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, BenchError):
        return None


def _result(reported: dict[str, Any] | None) -> str:
    if not reported:
        return ""
    value = reported["value"]
    return f"{reported['metric']} {'undefined' if value is None else f'{value:.3f}'}"
