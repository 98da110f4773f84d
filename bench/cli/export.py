"""Write a cell's adapter as a plain LoRA adapter with the same outputs: rank by matrix, singular values folded in."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.errors import BenchError
from bench.paths import ADAPTER_CONFIG, CellPaths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cell", type=Path, metavar="CELL_DIR", help="folder of a record, with adapter/ in it")
    parser.add_argument("--as", dest="form", choices=["lora"], default="lora", help="what to write")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")


def run(args: argparse.Namespace) -> None:
    """Raises BenchError where the cell has no adapter or DIR already holds something."""
    adapter = CellPaths(args.cell).adapter
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise BenchError(f"{args.cell}: expected the folder of a cell, with adapter/adapter_config.json in it")
    if args.out.exists() and any(args.out.iterdir()):
        raise BenchError(f"{args.out}: is not empty")

    from bench.models.export import export_lora

    export_lora(adapter, args.out)
    print(args.out)
