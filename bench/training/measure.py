"""Measure a model, its training's peak memory, and the device that it runs on."""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.config.cell import Cell
from bench.engine.fused_layers import ADAPTER
from bench.models.backbone import head_modules
from bench.records.schema import BaseBytes, PeakBytes

PROCESS_STATUS, CLEAR_MARK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
RETURNED = 64 * 1024  # bytes: larger freed blocks go back to the system until memory is measured
KEPT = 32 * 1024**2  # bytes: smaller freed blocks are kept, as glibc by itself ends up doing for large tensors
MATRIX_SIZE = {"cpu": 1024, "cuda": 4096}  # rows and columns; a GPU needs more to be busy
MATRIX_TRIES = 5
MEASURED_STEPS = 3  # at the most: imports of a second step would be odd


class PeakMemory:
    """The peak of memory on `device` since this object was made. Make it when the model is loaded, before the training.

    On the CPU the C library keeps freed blocks and cannot always use them again, so resident memory can rise to twice
    what a training needs, by an amount that varies between runs. Until one step was measured, freed blocks are
    therefore returned to the system; from then on they are kept, which is faster. That step is a rehearsal of the
    largest batch before the training starts. Measured during training instead, the growth came out up to 50% larger,
    because earlier steps had left freed blocks behind.

    A first step may also import what its code needs, 40 MiB under gradient checkpointing. It is made again then. After
    a small step for imports alone, QLoRA's growth came out 5% larger.

    On a GPU PyTorch's allocator counts. The rehearsal is made there too: a try that goes on near the end makes no other
    step of that size, or none at all. `earlier`: what earlier tries at the cell took, as `largest` returned it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._growth: int | None = None
        self.earlier: dict[str, int] = {}
        if device.type == "cuda":
            if torch.cuda.is_initialized():  # else nothing is allocated, and an error here would have no record
                torch.cuda.reset_peak_memory_stats(device)
            return
        _call_libc("mallopt", M_MMAP_THRESHOLD, RETURNED)
        _call_libc("malloc_trim", 0)
        self._loaded = _status_bytes("RssAnon")
        self._measure_from_now_on()

    def measure(self, step: Callable[[], None]) -> None:
        """Measure how far `step`, the first forward and backward pass, raises resident memory above the loaded model.

        A step that imports something is not the one that counts: what it leaves is added to the loaded model, and the
        step is made again. On a GPU that changes nothing: its memory holds no code.
        """
        if self._device.type == "cuda":
            step()
            return
        try:
            for _ in range(MEASURED_STEPS):
                modules, before = len(sys.modules), _status_bytes("RssAnon")
                step()
                # Pages of files are code that is read once, whatever is trained.
                files = _status_bytes("RssFile") + _status_bytes("RssShmem")
                self._growth = max(0, _status_bytes("VmHWM") - files - self._loaded)
                if len(sys.modules) == modules:
                    break
                _call_libc("malloc_trim", 0)
                self._loaded += max(0, _status_bytes("RssAnon") - before)
                self._measure_from_now_on()
        finally:
            keep_freed_blocks()

    @staticmethod
    def _measure_from_now_on() -> None:
        """Let the kernel measure VmHWM, the peak of resident memory, anew. Elsewhere it covers the whole process."""
        with contextlib.suppress(OSError):
            CLEAR_MARK.write_text("5")

    def largest(self) -> dict[str, int]:
        """The peak so far in bytes, of this try and of the `earlier` ones: `peak`, on a GPU `reserved`, `requested`."""
        if self._device.type == "cuda":
            now = {
                "peak": torch.cuda.max_memory_allocated(self._device),
                "reserved": torch.cuda.max_memory_reserved(self._device),
                "requested": torch.cuda.memory_stats(self._device).get("requested_bytes.all.peak", 0),
            }
        else:
            now = {"peak": _status_bytes("VmHWM")}
        return {name: max(value, self.earlier.get(name, 0)) for name, value in now.items()}

    def read(self, predicted: int | None = None) -> PeakBytes:
        """The peak so far. `predicted`: what was predicted of the peak on a GPU, of the growth on the CPU, in bytes."""
        return PeakBytes(device=str(self._device), growth=self._growth, predicted=predicted, **self.largest())


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of the fastest of several matmuls of square matrices.

    The utilization in a record is relative to this rate. Takes a fraction of a second and draws no random number.
    """
    size = MATRIX_SIZE.get(device.type, MATRIX_SIZE["cuda"])
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    torch.mm(matrix, matrix)
    return max(2 * size**3 / _matmul_seconds(matrix) for _ in range(MATRIX_TRIES))


def base_bytes(model: nn.Module) -> BaseBytes:
    """Bytes of the frozen base as stored. Heads and adapters are not in it; shared tensors count once."""
    weights = quantization = 0
    for _, parameter in _base(model):
        weights += _bytes(parameter)
        quantization += _state_bytes(getattr(parameter, "quant_state", None))
    buffers = sum(_bytes(buffer) for buffer in model.buffers())
    return BaseBytes(weights=weights, quantization=quantization, buffers=buffers)


def frozen_parameters(model: nn.Module) -> int:
    """Frozen parameters of the base; a 4-bit weight counts with the shape that it stands for."""
    return sum(_logical(parameter) for _, parameter in _base(model))


def head_parameters(model: nn.Module) -> dict[str, int]:
    """Trained parameters of the heads, by the head's module (classifier, pooler, ...).

    What else is trained belongs to the adapter, the biases of the base included that a config with `bias` trains.
    """
    heads: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ".modules_to_save." in name:
            head = name.split(".modules_to_save.")[0].rsplit(".", 1)[-1]
            heads[head] = heads.get(head, 0) + parameter.numel()
    return heads


def trained_heads(model: nn.Module, cell: Cell) -> dict[str, int]:
    """As head_parameters; where every parameter is trained, those of the backbone's heads."""
    if cell.method.adapter != "full":
        return head_parameters(model)
    heads = {name: model.get_submodule(name) for name in head_modules(model, cell.backbone)}
    return {name.rsplit(".", 1)[-1]: sum(p.numel() for p in head.parameters()) for name, head in heads.items()}


def _base(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Frozen parameters; not an adapter's constants, not the heads' untouched originals that PEFT keeps."""
    for name, parameter in model.named_parameters():
        if not (parameter.requires_grad or _adapter(name) or ".original_module." in name):
            yield name, parameter


def _adapter(name: str) -> bool:
    """PEFT puts an adapter's name into the paths of its parameters, and of the heads' copies that it trains."""
    return f".{ADAPTER}" in name and ".modules_to_save." not in name


def _logical(parameter: Any) -> int:
    state = getattr(parameter, "quant_state", None)
    return int(math.prod(state.shape) if state is not None else parameter.numel())


def _state_bytes(state: Any) -> int:
    """absmax and code of a bitsandbytes state, and what double quantization nests in it."""
    if state is None:
        return 0
    tensors = [value for value in vars(state).values() if isinstance(value, Tensor)]
    return sum(_bytes(t) for t in tensors) + _state_bytes(getattr(state, "state2", None))


def _bytes(tensor: Tensor) -> int:
    return int(tensor.numel() * tensor.element_size())


def _matmul_seconds(matrix: Tensor) -> float:
    _synchronize(matrix.device)
    began = time.perf_counter()
    torch.mm(matrix, matrix)
    _synchronize(matrix.device)
    return time.perf_counter() - began


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def keep_freed_blocks() -> None:
    """Let the C library keep freed blocks for the next ones: the setting under which a training is fastest."""
    _call_libc("mallopt", M_MMAP_THRESHOLD, KEPT)
    _call_libc("mallopt", M_TRIM_THRESHOLD, 2 * KEPT)


def _call_libc(name: str, *numbers: int) -> None:
    """Call a function of the C library; do nothing where that is not glibc."""
    with contextlib.suppress(OSError, AttributeError):
        getattr(ctypes.CDLL(None), name)(*numbers)


def _status_bytes(field: str) -> int:
    """A field of /proc/self/status in bytes; 0 on systems without it."""
    try:
        line = next(line for line in PROCESS_STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024
