"""What a job does before and after the training of its cells: set libraries up, mark records as new."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def set_library_environment(threads: int) -> None:
    """Set the variables that libraries read once, when they are imported. Call it before torch is imported."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"
    # The number of threads decides in which order sums are taken, and so the last bits of every result.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    # Its threads would not survive the fork of a group's cells, and rows are tokenized before a training anyway.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    set_gpu_allocator()


def set_gpu_allocator() -> None:
    """Let PyTorch hold GPU memory in segments that grow, unless one of its variables says something else.

    Batches have many lengths; segments of fixed sizes leave gaps that none of them fits. Call it before torch is
    imported.
    """
    if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")


def touch(file: Path) -> None:
    """Give a record that was left as it is the present time, because Snakemake reruns what is older than its inputs.

    A file that a network file system does not show yet is left alone: an empty file must never take its place.
    """
    with suppress(FileNotFoundError):
        os.utime(file)
