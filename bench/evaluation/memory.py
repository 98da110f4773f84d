"""Out of memory, as the device or the host's allocator tells it."""

from __future__ import annotations

import gc

import torch

_HOST_WORDS = ("can't allocate memory", "not enough memory", "bad_alloc")
_DEVICE_WORDS = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: a GPU's, or this process's on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in (*_HOST_WORDS, *_DEVICE_WORDS))


def release_memory() -> None:
    """Give back what the failed attempt held. Call it outside the `except` block, which keeps its frames alive."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
