"""bench export"""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import FOLDER
from bench.errors import BenchError
from bench.paths import ADAPTER_CONFIG, CellPaths
from bench.pipeline.folders import check_writable


@click.command(short_help="Write a cell's adapter as a plain LoRA adapter.")
@click.argument("cell", type=FOLDER, metavar="CELL_DIR")
@click.option("--as", "form", type=click.Choice(["lora"]), default="lora", help="what to write")
@click.option("--out", type=FOLDER, required=True, metavar="DIR", help="a folder that is empty or does not exist")
def export(cell: Path, form: str, out: Path) -> None:  # noqa: ARG001 (there is one form so far)
    """Write the adapter of the cell in CELL_DIR as a plain LoRA adapter with the same outputs.

    Each matrix keeps its own rank; singular values are multiplied into one of the factors.
    """
    adapter = CellPaths(cell).adapter
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise BenchError(f"{cell}: expected the folder of a cell, with adapter/adapter_config.json in it")
    check_writable("--out", out)
    if out.exists() and any(out.iterdir()):
        raise BenchError(f"{out}: is not empty")

    from bench.models.export import export_lora

    export_lora(adapter, out)
    print(out)
