"""Fetch, check and tokenize what a study's cells read. Everything that needs the network happens here."""

from __future__ import annotations

import argparse

from bench.cli.options import add_study, cache_of
from bench.errors import BenchError, nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--data", metavar="FOLDER", help="only this folder of CACHE/data")
    parser.add_argument("--model", metavar="FOLDER", help="only this folder of CACHE/models")


def run(args: argparse.Namespace) -> None:
    """Print each folder as it is ready. Raises BenchError, before anything is trained."""
    from bench.inputs.backbones import prepare_backbone
    from bench.inputs.datasets import prepare_task
    from bench.pipeline.study import pipeline_of

    pipeline = pipeline_of(
        {
            "study": args.study,
            "results": args.results,
            "cache": cache_of(args),
            "workflow": args.workflow,
            "set": ";".join(args.set),
            **({"mirror": args.mirror} if args.mirror else {}),
        }
    )
    for option, name, have in (("--data", args.data, pipeline.data), ("--model", args.model, pipeline.models)):
        if name is not None and name not in have:
            raise BenchError(f"{option}: study {args.study!r} has no {name!r}{nearest(name, have)}")
    everything = args.data is None and args.model is None
    for name, cell in pipeline.models.items():
        if everything or name == args.model:
            folder = prepare_backbone(cell.backbone, mirror=pipeline.mirror, cache=pipeline.cache)
            print(f"model {cell.backbone.name}: {folder}", flush=True)
    for name, cell in pipeline.data.items():
        if everything or name == args.data:
            prepare_task(cell.task, cell.backbone, cell.data, mirror=pipeline.mirror, cache=pipeline.cache)
            print(f"data {cell.task.name}: {pipeline.data_folder(cell)}", flush=True)
