"""bench export"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bench.cli.options import FOLDER, cache_option, mirror_option, results_option, workflow_option
from bench.errors import BenchError
from bench.files import move_into
from bench.paths import ADAPTER_CONFIG, CellPaths, default_cache
from bench.pipeline.folders import check_writable

UNFINISHED = ".unfinished"  # no file of an export is called so


@click.command(short_help="Write a cell's adapter as plain LoRA, or merged into its base.")
@click.argument("cell", type=FOLDER, metavar="CELL_DIR")
@click.option("--as", "form", type=click.Choice(["lora", "merged"]), default="lora", help="default: lora")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    help="of the weights, with --as merged; default: float32",
)
@click.option("--out", type=FOLDER, required=True, metavar="DIR", help="a folder that is empty or does not exist")
@results_option
@cache_option
@mirror_option
@workflow_option
def export(
    cell: Path,
    form: str,
    dtype: str | None,
    out: Path,
    results: Path,
    cache: Path | None,
    mirror: Path | None,
    workflow: Path | None,
) -> None:
    """Write the adapter of the cell in CELL_DIR in another form, with the same outputs.

    `lora`: AdaLoRA as a plain LoRA adapter. Each matrix keeps its own rank; singular values are multiplied into one of
    the factors.

    `merged`: any adapter, merged into its base, as a checkpoint of transformers with tokenizer and card. The base comes
    from the cache and is prepared if it is not there. One in NF4 is unpacked first.
    """
    if form == "lora":
        if dtype is not None:
            raise BenchError(f"--dtype {dtype}: goes with --as merged; a LoRA adapter stays in float32")
        _write_lora(cell, out)
    else:
        _write_merged(cell, out, dtype or "float32", cache or default_cache(results), mirror, workflow)
    print(out)


def _write_lora(cell: Path, out: Path) -> None:
    adapter = CellPaths(cell).adapter
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise BenchError(f"{cell}: expected the folder of a cell, with adapter/adapter_config.json in it")
    _check_out(out)

    from bench.models.export import export_lora

    with _folder_to_fill(out) as folder:
        export_lora(adapter, folder)


def _write_merged(folder: Path, out: Path, dtype: str, cache: Path, mirror: Path | None, workflow: Path | None) -> None:
    from bench.config.folders import workflow_folders
    from bench.inputs.backbones import prepare_backbone
    from bench.publishing.cards.merging import cell_to_merge, export_merged

    cell, record = cell_to_merge(folder, workflow_folders(workflow))
    _check_out(out)
    base = prepare_backbone(cell.backbone, mirror=mirror, cache=cache)
    with _folder_to_fill(out) as new:
        click.echo(export_merged(folder, cell, record, base, new, dtype), err=True)


def _check_out(out: Path) -> None:
    """Raises BenchError unless `out` is empty or can be made."""
    check_writable("--out", out)
    if out.exists() and any(out.iterdir()):
        raise BenchError(f"{out}: is not empty")


@contextmanager
def _folder_to_fill(out: Path) -> Iterator[Path]:
    """The folder to write, which becomes `out`: one that is there stays, as a link, a mount or where somebody works."""
    if not out.exists():
        yield out
        return
    inner = out / UNFINISHED
    yield inner
    move_into(inner, out)
