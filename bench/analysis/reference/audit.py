"""The audit of the ledger: what `bench reference` finds in the files of published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.analysis.reference.averages import AverageCheck, check_averages
from bench.analysis.reference.copies import CopiedRow, copied_rows
from bench.analysis.reference.ledger import LedgerLine, read_ledger
from bench.analysis.reference.rows import PrintedRow, printed_rows


@dataclass(frozen=True)
class Audit:
    """The lines of the ledger, the rows of scores that they make, and what was found in these."""

    files: tuple[Path, ...]
    lines: tuple[LedgerLine, ...]
    rows: tuple[PrintedRow, ...]
    copies: tuple[CopiedRow, ...]
    averages: tuple[AverageCheck, ...]

    @property
    def mixed(self) -> list[CopiedRow]:
        """The copies that differ in some cells from what they are copied from."""
        return [copy for copy in self.copies if copy.different]

    @property
    def unexplained(self) -> list[AverageCheck]:
        """The averages that do not follow from the scores of their row, or not by the rule that is declared."""
        return [check for check in self.averages if not check.follows]


def audit_ledger(files: Sequence[Path], first_split: Mapping[str, str]) -> Audit:
    """Read and audit the files. `first_split`: by known task, the split that a number without a split belongs to.

    Raises BenchError with file, line and what was expected if a file is malformed.
    """
    lines = read_ledger(files, first_split)
    rows = printed_rows(lines, first_split)
    copies = copied_rows(rows)
    return Audit(tuple(files), tuple(lines), tuple(rows), tuple(copies), tuple(check_averages(rows, copies)))
