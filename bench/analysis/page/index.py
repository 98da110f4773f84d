"""The page over all studies, results/index.html, made from the summary that each study keeps of itself.

Two studies may finish at once. Each writes its own summary, then the index of all summaries, and looks again: where the
index on the disk is no longer that of the summaries, it is written again. Whoever writes last looks after that, so no
lock is needed, and none can be left behind on shared storage.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from bench.analysis.page.templates import ENVIRONMENT
from bench.analysis.results import Results
from bench.config.types import Stored
from bench.files import canonical_json, write_atomic
from bench.paths import StudyPaths, index_file

log = logging.getLogger(__name__)
MOST_ATTEMPTS = 100  # others write each time only if a summary changed


class Summary(Stored):
    """What the index shows of a study. `date`: that of its newest record, in UTC, as 2026-01-31."""

    name: str
    description: str
    cells: int
    done: int
    failed: int
    date: str


def write_index(results: Results) -> Path:
    """Write the summary of a study, and the index of all; return the file of the index."""
    write_atomic(results.paths.summary, canonical_json(summary_of(results).model_dump(mode="json")))
    folder = results.paths.results
    file = index_file(folder)
    for _ in range(MOST_ATTEMPTS):
        content = index(folder).encode()
        if file.is_file() and file.read_bytes() == content:
            break
        write_atomic(file, content)
    return file


def summary_of(results: Results) -> Summary:
    statuses = [record.status for record in results.records.values()]
    done = statuses.count("ok")
    newest = max(
        (results.paths.cell(cell_id).record.stat().st_mtime for cell_id in results.records),
        default=None,  # trials alone are recorded
    )
    return Summary(
        name=results.study.name,
        description=results.study.study.description,
        cells=len(results.study.cells),
        done=done,
        failed=len(statuses) - done,
        date="" if newest is None else f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%d}",
    )


def index(folder: Path) -> str:
    """HTML with a row per study below `folder` that has a summary, by name. A file that is no summary is left out."""
    rows = []
    for file in sorted(folder.glob(f"*/{StudyPaths(folder, '').summary.name}")):
        try:
            summary = Summary.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            log.warning("%s is left out of the index: %s", file, str(error).splitlines()[0])
            continue
        paths = StudyPaths(folder, file.parent.name)
        page = quote(paths.page.relative_to(folder).as_posix()) if paths.page.is_file() else ""
        rows.append({**summary.model_dump(), "page": page})
    return ENVIRONMENT.get_template("index.html").render(studies=rows)
