"""bench prepare"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from bench.cli.options import study_options
from bench.errors import BenchError, nearest
from bench.paths import MANIFEST
from bench.pipeline.folders import check_writable
from bench.pipeline.run_options import RunOptions


@click.command(short_help="Fetch and tokenize what a study needs (the only step that uses the network).")
@study_options
@click.option("--data", metavar="FOLDER", help="only this folder of CACHE/data")
@click.option("--model", metavar="FOLDER", help="only this folder of CACHE/models")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="processors to tokenize on; default: all that it may use"
)
def prepare(options: RunOptions, data: str | None, model: str | None, threads: int | None) -> None:
    """Fetch, check and tokenize what a study's cells read. Everything that needs the network happens here.

    Prints each folder as it is ready. What is refused ends it, before anything is trained. Files of a mirror or of your
    own that changed are prepared again. After an interruption, call it again: it goes on where it was.
    """
    from bench.evaluation.evaluate_modules import try_modules_apart
    from bench.inputs.backbones import prepare_backbone
    from bench.inputs.datasets import is_prepared, prepare_task
    from bench.inputs.prepare import check_readers
    from bench.inputs.processors import allowed_processors, use_processors
    from bench.pipeline.study import Pipeline

    options.check_mirror()
    check_writable("cache", options.cache_folder)
    use_processors(min(threads or allowed_processors(), allowed_processors()))
    pipeline = Pipeline.of(options)
    for option, name, valid in (("--data", data, pipeline.data), ("--model", model, pipeline.models)):
        if name is not None and name not in valid:
            raise BenchError(f"{option}: study {options.study!r} has no {name!r}{nearest(name, valid)}")
    everything = data is None and model is None
    for name, cell in pipeline.models.items():
        if everything or name == model:
            folder = prepare_backbone(cell.backbone, mirror=options.mirror, cache=options.cache_folder)
            print(f"model {cell.backbone.name}: {folder}", flush=True)
    chosen = {name: cell for name, cell in pipeline.data.items() if everything or name == data}
    try_modules_apart([cell.task for cell in chosen.values()])
    places: dict[str, Any] = {"mirror": options.mirror, "cache": options.cache_folder}
    new = [cell for cell in chosen.values() if not is_prepared(cell.task, cell.backbone, cell.data, **places)]
    segments = dict(zip((cell.id for cell in new), check_readers(new, **places) if new else [], strict=True))
    for cell in chosen.values():
        folder = prepare_task(cell.task, cell.backbone, cell.data, **places, segments=segments.get(cell.id))
        _touch_manifest(folder, pipeline.model_folder(cell))
        print(f"data {cell.task.name}: {folder}", flush=True)


def _touch_manifest(data: Path, model: Path) -> None:
    """Make the manifest of rows, if they were left as they are, no older than that of their model.

    Snakemake prepares again what is older than its inputs.
    """
    manifest, of_model = data / MANIFEST, model / MANIFEST
    if manifest.stat().st_mtime_ns < of_model.stat().st_mtime_ns:
        os.utime(manifest)
