"""The rate of a device's own matrix product: what a training's operations are held against."""

from __future__ import annotations

import time

import torch

SIZE = {"cpu": 1024, "cuda": 4096}  # rows and columns; a GPU needs more to be busy
TRIES = 5


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second, the best of several products of square matrices; takes a fraction of a
    second. No random number is drawn."""
    size = SIZE.get(device.type, SIZE["cuda"])
    one = torch.ones(size, size, device=device, dtype=dtype)
    torch.mm(one, one)
    return max(2 * size**3 / _seconds(one) for _ in range(TRIES))


def _seconds(one: torch.Tensor) -> float:
    _wait(one.device)
    clock = time.perf_counter()
    torch.mm(one, one)
    _wait(one.device)
    return time.perf_counter() - clock


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
