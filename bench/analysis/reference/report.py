"""The audit of the ledger as text for the terminal and as plain data for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench.analysis.reference.audit import Audit
from bench.analysis.reference.averages import AverageCheck
from bench.analysis.reference.copies import CopiedRow
from bench.analysis.reference.ledger import SECONDARY, LedgerLine
from bench.analysis.reference.rows import PrintedRow
from bench.analysis.wording import number_text

MARK = f"[{SECONDARY}]"


def audit_text(audit: Audit) -> str:
    """What was found, section by section; each says how much it found, so that an empty one is no omission."""
    secondary = sum(line.quality == SECONDARY for line in audit.lines)
    sources = {line.source for line in audit.lines}
    rules = {id(check.row): " or ".join(check.fits) for check in audit.averages}
    text = [
        f"{len(audit.files)} files, {len(audit.lines)} numbers from {len(sources)} sources, "
        f"{len(audit.rows)} rows of scores",
        *([f"{MARK}: {secondary} numbers read in notes on a paper, not in the paper"] if secondary else []),
        "",
        f"Copied rows: {len(audit.copies)}",
        *_aligned(map(_copy_line, audit.copies)),
        "",
        f"Copies that differ from what they are copied from: {len(audit.mixed)}",
        *(line for copy in audit.mixed for line in _mixed_lines(copy)),
        "",
        f"Printed averages: {len(audit.averages)}, of which {len(audit.unexplained)} do not follow from their row",
        *_aligned(_by_table(audit.averages)),
        *(line for check in audit.unexplained for line in _unexplained_lines(check)),
        "",
        f"Equal scores under two averages: {sum(copy.averages is not None for copy in audit.copies)}",
        *(
            line
            for copy in audit.copies
            if copy.averages is not None
            for line in _average_lines(copy, *copy.averages, rules)
        ),
    ]
    return "\n".join(text)


def audit_data(audit: Audit) -> dict[str, Any]:
    """The same as plain data: numbers in points, places as FILE:LINE."""
    return {
        "files": [str(file) for file in audit.files],
        "numbers": len(audit.lines),
        "secondary": sum(line.quality == SECONDARY for line in audit.lines),
        "rows": len(audit.rows),
        "copies": [
            {
                **_row_data(copy.row),
                "origin": _row_data(copy.origin),
                "declared": copy.declared,
                "equal": len(copy.equal),
                "different": [
                    {"cell": _cell(here), "here": here.points, "there": there.points, "at": _at(here)}
                    for here, there in copy.different
                ],
                "averages": copy.averages,
            }
            for copy in audit.copies
        ],
        "averages": [
            {
                **_row_data(check.row),
                "at": _at(check.line),
                "printed": check.line.points,
                "values": dict(check.values),
                "fits": check.fits,
                "fits_origin": check.from_origin,
                "declared": check.line.average_rule or None,
                "follows": check.follows,
            }
            for check in audit.averages
        ],
    }


def _aligned(lines: Iterable[Sequence[str]]) -> list[str]:
    """The lines indented, with their fields in columns."""
    fields = [tuple(line) for line in lines]
    widths = [max(map(len, column)) for column in zip(*fields, strict=True)]
    return [
        "  " + "  ".join(field.ljust(width) for field, width in zip(line, widths, strict=True)).rstrip()
        for line in fields
    ]


def _name(row: PrintedRow) -> str:
    """The row, marked where it was not read in the paper."""
    secondary = any(line.quality == SECONDARY for line in (*row.cells, *row.averages))
    return f"{row.name} {MARK}" if secondary else row.name


def _copy_line(copy: CopiedRow) -> tuple[str, ...]:
    here, there = copy.row.parameters, copy.origin.parameters
    other = f" (prints {here} parameters for {there})" if here and there and here != there else ""
    return (
        _name(copy.row),
        f"{len(copy.equal)} of {copy.shared} equal",
        "declared" if copy.declared else "found",
        f"from {_name(copy.origin)}{other}",
    )


def _mixed_lines(copy: CopiedRow) -> list[str]:
    equal = ", ".join(_cell(here) for here, _ in copy.equal)
    return [
        f"  {_name(copy.row)}, from {_name(copy.origin)}",
        f"    equal: {equal or 'none'}",
        *(f"    {_cell(here)}: {_number(here)} for {_number(there)} ({_at(here)})" for here, there in copy.different),
    ]


def _by_table(checks: Sequence[AverageCheck]) -> Iterator[tuple[str, ...]]:
    """Per source and table, how many averages follow from their row, and under which rules all of these do."""
    by_table: dict[str, list[AverageCheck]] = {}
    for check in checks:
        by_table.setdefault(check.line.title, []).append(check)
    for title, some in by_table.items():
        following = [check for check in some if check.follows]
        common = [rule for rule in some[0].values if all(rule in check.fits for check in following)]
        rules = f"under {' or '.join(common)}" if following and common else ""
        mark = f" {MARK}" if any(check.line.quality == SECONDARY for check in some) else ""
        yield title + mark, f"{len(following)} of {len(some)} follow", rules


def _unexplained_lines(check: AverageCheck) -> list[str]:
    line = check.line
    found = [f"  {_name(check.row)}: {_number(line)} ({_at(line)})"]
    if not check.values:
        found.append(
            f"    can't be checked: it is over {line.averaged_tasks} tasks, and the ledger has scores of {check.tasks}"
        )
    elif check.fits:
        found.append(f"    not under the declared {line.average_rule}, but under {' or '.join(check.fits)}")
    elif check.nearest is not None:
        rule, value = check.nearest
        found.append(f"    under no rule; the nearest, {rule}, gives {number_text(value)}")
    if check.from_origin:
        found.append(f"    it follows from the row that it is copied from, under {' or '.join(check.from_origin)}")
    return found


def _average_lines(copy: CopiedRow, here: float, there: float, rules: Mapping[int, str]) -> list[str]:
    """Both averages, each with the rules under which it follows."""
    return [
        f"  {'' if row is copy.row else '  '}{number_text(value)}: {_name(row)}, under {rules[id(row)] or 'no rule'}"
        for row, value in ((copy.row, here), (copy.origin, there))
    ]


def _row_data(row: PrintedRow) -> dict[str, Any]:
    head = row.head
    return {
        "source": head.title,
        "backbone": head.backbone,
        "method": head.method,
        "budget": head.budget,
        "parameters": row.parameters,
        "quality": head.quality,
    }


def _cell(line: LedgerLine) -> str:
    return " ".join(part for part in (line.task, line.split, line.metric) if part)


def _number(line: LedgerLine) -> str:
    assert line.points is not None
    return number_text(line.points, line.digits)


def _at(line: LedgerLine) -> str:
    return f"{line.file.name}:{line.line}"
