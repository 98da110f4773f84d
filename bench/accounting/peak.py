"""Peak memory: of the device on a GPU, resident on the CPU."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from bench.records.schema import PeakBytes

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """From construction on (the model loaded), how high memory rises on `device`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            self._before = _kilobytes("VmRSS") * 1024
            with contextlib.suppress(OSError):  # where not allowed the mark covers the whole process
                CLEAR.write_text("5")

    def read(self) -> PeakBytes:
        """The peak so far, in bytes; `growth` on the CPU: over what was resident at construction."""
        if self._device.type == "cuda":
            return PeakBytes(
                device=str(self._device),
                peak=torch.cuda.max_memory_allocated(self._device),
                reserved=torch.cuda.max_memory_reserved(self._device),
            )
        peak = _kilobytes("VmHWM") * 1024
        return PeakBytes(device="cpu", peak=peak, growth=max(0, peak - self._before))


def _kilobytes(field: str) -> int:
    """A field of /proc/self/status in KiB; 0 on systems without it."""
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1])
