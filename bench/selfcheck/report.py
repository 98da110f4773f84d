"""What the checks found: lines for the terminal, and a JSON file for a bug report."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.files import write_atomic
from bench.records.environment import environment
from bench.selfcheck.check import Outcome, Place, Result

WIDTH = 110
INDENT = " " * 21


def line_of(outcome: Outcome) -> str:
    """One outcome: what holds or does not, what was found, and where it failed, what to do."""
    finding = outcome.finding
    head = f"{finding.result:8}{outcome.name:13}{outcome.question} ({outcome.seconds:.1f} s)"
    lines = [head, *textwrap.wrap(finding.found, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)]
    if outcome.failed:
        lines += textwrap.wrap(f"What to do: {outcome.advice}", WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return "\n".join(lines)


def summary_of(outcomes: Sequence[Outcome]) -> str:
    """How many checks passed, failed and were skipped."""
    words: dict[Result, str] = {"pass": "passed", "fail": "failed", "skipped": "skipped"}
    counts = Counter(outcome.finding.result for outcome in outcomes)
    parts = [f"{counts[result]} {word}" for result, word in words.items() if counts[result]]
    return f"{len(outcomes)} checks: {', '.join(parts)}"


def write_report(outcomes: Sequence[Outcome], place: Place, file: Path, log: Path) -> None:
    """Write all findings with their numbers, the environment and the end of the log as JSON."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    report: dict[str, Any] = {
        "device": place.device,
        "deep": place.deep,
        "passed": not any(outcome.failed for outcome in outcomes),
        "checks": [asdict(outcome) for outcome in outcomes],
        "environment": environment(place.device),
        "log": text.splitlines()[-200:],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(report, indent=1, default=str).encode())
