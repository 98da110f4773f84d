"""The predicted peak of a training's memory: the loaded model, the state of what is trained, and the activations."""

from __future__ import annotations

from dataclasses import dataclass

from bench.config.cell import Cell
from bench.device import CUBLAS_WORKSPACE
from bench.engine.adamw8bit import WORKING_BYTES
from bench.engine.packed_moments import CHUNK
from bench.estimate.lengths import longest_source
from bench.estimate.parameters import Prediction
from bench.estimate.tracing import BatchShape, Device, trace

# Bytes that a process on the CPU takes beside tensors: buffers of kernels, autograd's graph. Measured in MiniLM's
# cells: 3.3 to 5.8 MiB.
RUNTIME = 4 * 2**20
# Threads that multiply: the one of the forward pass and autograd's. cuBLAS has a workspace in each, which PyTorch's
# allocator counts.
MULTIPLYING_THREADS = 2


@dataclass(frozen=True)
class PredictedPeak:
    """Bytes at the peak of a training, for the largest micro-batch.

    loaded: the frozen base and the heads. state: parameters of the adapter, gradients, moments, importance, folded
    products; on the CPU what GoRA gathers before, if that is more. activations: see bench/estimate/tracing.py; they are
    freed when the optimizer steps, so that what it unpacks of moments in 8 bits counts here, if that is more.
    workspace: the largest matrix that nf4 unpacks at a time, and what the libraries need, on a GPU cuBLAS.
    """

    device: Device
    batch: BatchShape
    loaded: int
    state: int
    activations: int
    workspace: int

    @property
    def growth(self) -> int:
        """Bytes above the loaded model: what resident memory grows by on a CPU."""
        return self.state + self.activations + self.workspace

    @property
    def total(self) -> int:
        """Bytes that are allocated at the same time on a GPU, at the most."""
        return self.loaded + self.growth


def declared_batch(cell: Cell) -> BatchShape:
    """The largest micro-batch that the recipe allows: every row is as long as it may be."""
    recipe = cell.recipe
    rows = -(-recipe.batch_size // recipe.micro_batches)  # rounded up
    target = recipe.max_target_length if cell.task.facts.target_tokens else 0
    return BatchShape(rows, longest_source(cell), target)


def predict_peak(cell: Cell, predicted: Prediction, batch: BatchShape, device: Device) -> PredictedPeak:
    """Predict the peak of `cell` with micro-batches of that shape; `predicted` comes from `predict_parameters`.

    Raises BenchError if the backbone's file has no `config`.

    Example:
        >>> peak = predict_peak(cell, predict_parameters(cell), declared_batch(cell), "cuda")
        >>> peak.total / 2**30  # GiB
    """
    base = predicted.base
    trained = predicted.total if cell.method.adapter == "full" else sum(predicted.head.values())
    # Parameters and gradients. Heads are in `loaded` too: PEFT keeps the originals beside the copies it trains.
    state = 2 * predicted.gradients + predicted.optimizer + predicted.importance + predicted.folded
    if device == "cpu":  # GoRA's gradients are freed before the training begins
        state = max(state, predicted.gathered)
    # To 16 bits. Where the device is slow at these, the matrix goes on to float32, which the trace counts by itself.
    unpacked = 2 * predicted.largest_matrix if cell.method.storage == "nf4" else 0
    trainable = predicted.gradients // 4
    unpacked_moments = WORKING_BYTES * min(trainable, CHUNK) if cell.recipe.optimizer == "adamw8bit" else 0
    return PredictedPeak(
        device=device,
        batch=batch,
        loaded=base.weights + base.quantization + base.buffers + 4 * trained,
        state=state,
        activations=max(trace(cell, batch, device, predicted.sites, predicted.rank).activations, unpacked_moments),
        workspace=unpacked + (RUNTIME if device == "cpu" else MULTIPLYING_THREADS * _cublas_bytes()),
    )


def _cublas_bytes() -> int:
    """The workspace of cuBLAS in one thread: pairs of a size in KiB and a number of buffers, ':4096:8'."""
    numbers = [int(number) for number in CUBLAS_WORKSPACE[1].strip(":").split(":")]
    return 1024 * sum(size * count for size, count in zip(numbers[::2], numbers[1::2], strict=True))
