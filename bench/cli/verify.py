"""bench verify"""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import FOLDER
from bench.pipeline.folders import check_writable

DIFFERENT = 1


@click.command(short_help="Check a bundle to its last byte; make its tables again.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.zip")
@click.option("--tables", type=FOLDER, metavar="DIR", help="make the tables again, into a folder that is empty or new")
def verify(file: Path, tables: Path | None) -> int:
    """Check every byte of the bundle FILE.zip: its members against its manifest, each record against its own checksums.

    A member that was changed is named (exit code 2). With --tables, the tables are made again from its records and
    compared with its own, byte for byte: exit code 0 if they are the same, 1 if not.
    """
    from bench.publishing.bundles.verify import check_empty, remake_tables, verify

    if tables is not None:
        check_writable("--tables", tables)
        check_empty(tables)
    manifest = verify(file)
    print(f"{file}: holds: {manifest.told}")
    if tables is None:
        return 0
    names, different = remake_tables(file, tables)
    if not different:
        print(f"{tables}: {len(names)} files of tables, made again: the same bytes as in the bundle")
        return 0
    print(f"{tables}: {len(different)} of {len(names)} files of tables, made again, are not those of the bundle:")
    for name in different:
        print(name)
    return DIFFERENT
