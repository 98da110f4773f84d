"""bench schema"""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import FOLDER
from bench.errors import BenchError
from bench.pipeline.folders import check_writable


@click.command(short_help="Write JSON Schemas of the YAML files and of records, for editors and other tools.")
@click.option("--out", type=FOLDER, metavar="DIR", help="where to write them; default: workflow/schemas")
def schema(out: Path | None) -> None:
    """Write the JSON Schemas of tasks, methods, backbones, studies and records.

    An editor with a YAML language server completes and checks a file whose first line names its schema. What holds
    between keys is not in them: `bench check` says that.
    """
    from bench.config.folders import OWN, SCHEMAS
    from bench.files import write_atomic
    from bench.records.json_schemas import schema_files

    if out is None:
        if not OWN.is_dir():
            raise BenchError(f"there is no folder {OWN} here: name another place with --out DIR")
        out = OWN / SCHEMAS
    check_writable("--out", out)
    for name, content in schema_files().items():
        write_atomic(out / name, content)
        print(out / name)
