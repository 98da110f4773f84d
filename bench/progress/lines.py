"""A run as lines of text, for pipes and logs: what happened between two moments."""

from __future__ import annotations

from bench.paths import StudyPaths
from bench.progress.state import CellProgress, Snapshot, in_words, left_in_words

BEGUN = ("starting", "running")
MOST_STANDING = 20  # failures that are listed at the first look


def changes(before: Snapshot | None, now: Snapshot) -> list[str]:
    """One line per event since `before`; None: the first look, which tells where the run stands."""
    if before is None:
        return [f"{now.study}: {_done(now)}", *failures(None, now), *now.doing]
    known = {cell.id: cell.stage for cell in before.cells}
    new = [cell for cell in now.cells if cell.stage != known[cell.id]]
    ended = [*(_finished(cell) for cell in new if cell.stage == "done"), *failures(before, now)]
    if ended:
        left = left_in_words(now)
        ended[-1] += f" ({_done(now)}{', ' + left if left else ''})"
    queued = [f"queued {cell.id}: {cell.message}" for cell in new if cell.stage == "queued"]
    began = [f"started {c.id}" for c in new if c.stage in BEGUN and known[c.id] not in (*BEGUN, "failed")]
    return [*ended, *queued, *began, *again(before, now), *(doing for doing in now.doing if doing not in before.doing)]


def failures(before: Snapshot | None, now: Snapshot) -> list[str]:
    """One line per cell that failed since `before`; at the first look, of those that stand, a limited number."""
    known = {cell.id for cell in before.cells if cell.stage == "failed"} if before else set()
    failed = [cell for cell in now.cells if cell.stage == "failed" and cell.id not in known]
    shown = failed if before else failed[:MOST_STANDING]
    lines = [f"failed {cell.id}: {cell.message} (whole log: {cell.log})" for cell in shown]
    return [*lines, *([f"and {len(failed) - len(shown)} more that failed"] if len(failed) > len(shown) else [])]


def again(before: Snapshot | None, now: Snapshot) -> list[str]:
    """One line per cell that failed before and is tried again."""
    failed = {cell.id for cell in before.cells if cell.stage == "failed"} if before else set()
    return [f"started again {cell.id}" for cell in now.cells if cell.stage in BEGUN and cell.id in failed]


def ending(paths: StudyPaths) -> list[str]:
    """Where the tables and the page are, as far as they are made."""
    tables = [f"tables: {paths.tables}/*.md"] if next(paths.tables.glob("*.md"), None) else []
    return [*tables, *([f"page: {paths.page}"] if paths.page.is_file() else [])]


def _finished(cell: CellProgress) -> str:
    took = "" if cell.seconds is None else f" in {in_words(cell.seconds)}"
    return f"done {cell.id}: {cell.result or 'no score'}{took}"


def _done(snapshot: Snapshot) -> str:
    parts = (("trials", snapshot.trials), ("cells", snapshot.final_cells))
    counted = (
        f"{sum(cell.stage == 'done' for cell in cells)} of {len(cells)} {what} done" for what, cells in parts if cells
    )
    return ", ".join(counted)
