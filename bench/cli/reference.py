"""bench reference"""

from __future__ import annotations

import json
from pathlib import Path

import click

from bench.cli.options import FOLDER, workflow_option
from bench.errors import BenchError


@click.command(short_help="Audit the published numbers: copied rows, mixed rows, averages.")
@click.option(
    "--ledger",
    type=FOLDER,
    metavar="DIR",
    help="folder of the CSV files; default: results/reference/ beside each folder of YAML files",
)
@click.option("--json", "as_json", is_flag=True, help="one JSON object in place of the text")
@workflow_option
def reference(ledger: Path | None, as_json: bool, workflow: Path | None) -> None:
    """Audit the ledger of published numbers, from which tables take what they show beside ours.

    It shows which rows a source took from another one, in which cells such a row differs from it, and under which rule
    each printed average follows from its row. A finding is no fault of the files: the exit code is 0. A malformed file
    is refused, with the line of each fault.
    """
    from bench.analysis.reference.audit import audit_ledger
    from bench.analysis.reference.ledger import ledger_files
    from bench.analysis.reference.report import audit_data, audit_text
    from bench.config.catalog import load_catalog
    from bench.config.folders import workflow_folders
    from bench.paths import reference_folder

    beside = [reference_folder(folder.parent) for folder in workflow_folders(workflow)]
    folders = beside if ledger is None else [ledger]
    files = ledger_files(*folders)
    if not files:
        raise BenchError(
            f"{folders[-1]}: no CSV file in this folder: expected published numbers, as docs/published.md says"
        )
    tasks = load_catalog(workflow).tasks
    audit = audit_ledger(files, {name: entry.item.primary_split for name, entry in tasks.items()})
    print(json.dumps(audit_data(audit), indent=1) if as_json else audit_text(audit))
