"""Notice, when the pipeline starts, that files which were prepared are no longer what they were."""

from __future__ import annotations

import sys

from bench.inputs.outdated import withdraw_outdated
from bench.paths import MANIFEST
from bench.pipeline.study import Pipeline


def withdraw_changed_inputs(pipeline: Pipeline) -> list[str]:
    """Take back the manifests of models and rows whose files changed; print what did, and return these manifests.

    As inputs of what a run is asked for they are made again, and their cells run: `bench train` compares the rows and
    the model of each record with the new ones. Snakemake by itself would say "Nothing to be done": it looks at no file
    of a mirror, and misses no file that only finished cells need.
    """
    options = pipeline.options
    readers = [*pipeline.data.values(), *pipeline.models.values()]  # not thousands of cells that read the same folders
    changes = withdraw_outdated(readers, options.mirror, options.cache_folder)
    for folder, change in changes.items():
        print(f"{change}: {folder.name} is prepared again", file=sys.stderr, flush=True)
    return [(folder / MANIFEST).as_posix() for folder in changes]
