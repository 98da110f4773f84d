"""Peak memory: of the device on a GPU, resident on the CPU."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import torch

from bench.records.schema import PeakBytes

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
GIVEN_BACK = 64 * 1024  # bytes from which on a freed block goes back to the system until a step was measured
KEPT = 32 * 1024**2  # what glibc settles at by itself for large tensors: smaller blocks are kept for the next


class PeakMemory:
    """From construction on (the model loaded, nothing else), how high memory rises on `device`.

    On the CPU the C library keeps what is freed and can't always use it again: resident memory then rises to twice what
    a training needs, and by chance. So until one step was `measured`, freed blocks go back to the system; after it they
    are kept, which is faster.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._loaded = 0
        self._growth: int | None = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _call("mallopt", M_MMAP_THRESHOLD, GIVEN_BACK)
            _call("malloc_trim", 0)
            self._loaded = _field("RssAnon")
            with contextlib.suppress(OSError):  # where not allowed the mark covers the whole process
                CLEAR.write_text("5")

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Around the first forward and backward, on the CPU: what resident memory grew by."""
        try:
            yield
            # pages of files are code that is read once, whatever is trained
            self._growth = max(0, _field("VmHWM") - _field("RssFile") - _field("RssShmem") - self._loaded)
        finally:
            _call("mallopt", M_MMAP_THRESHOLD, KEPT)
            _call("mallopt", M_TRIM_THRESHOLD, 2 * KEPT)

    def read(self, predicted: int | None = None) -> PeakBytes:
        """The peak so far, in bytes; `growth` on the CPU: in the measured step, over what was resident at construction.
        `predicted`: what was foreseen for the growth, on a GPU for the peak."""
        if self._device.type == "cuda":
            return PeakBytes(
                device=str(self._device),
                peak=torch.cuda.max_memory_allocated(self._device),
                reserved=torch.cuda.max_memory_reserved(self._device),
                predicted=predicted,
            )
        return PeakBytes(device="cpu", peak=_field("VmHWM"), growth=self._growth, predicted=predicted)


def _call(name: str, *numbers: int) -> None:
    """A function of the C library; nothing where it isn't glibc."""
    with contextlib.suppress(OSError, AttributeError):
        getattr(ctypes.CDLL(None), name)(*numbers)


def _field(name: str) -> int:
    """A field of /proc/self/status in bytes; 0 on systems without it."""
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024
