"""The predicted peak of training: what is loaded, what is trained with all its state, and the activations."""

from __future__ import annotations

from dataclasses import dataclass

from bench.config.cell import Cell
from bench.estimate.parameters import Prediction
from bench.estimate.tracing import BatchShape, Device, trace

RUNTIME = 4 * 2**20  # on the CPU: kernels' buffers, autograd's graph; measured, 3.3 to 5.8 MiB in MiniLM's cells


@dataclass(frozen=True)
class PredictedPeak:
    """Bytes. loaded: base and heads; state: parameters, gradients, moments, importance, folded products; workspace:
    the largest matrix that nf4 unpacks at a time, and on the CPU what the libraries need."""

    device: Device
    batch: BatchShape
    loaded: int
    state: int
    activations: int
    workspace: int

    @property
    def growth(self) -> int:
        """Over the loaded model: what resident memory grows by on a CPU."""
        return self.state + self.activations + self.workspace

    @property
    def total(self) -> int:
        """What is allocated at the most on a GPU."""
        return self.loaded + self.growth


def declared_batch(cell: Cell) -> BatchShape:
    """The largest micro-batch that the recipe allows: every row as long as it may be."""
    recipe = cell.recipe
    rows = -(-recipe.batch_size // recipe.micro_batches)
    return BatchShape(rows, recipe.max_length, recipe.max_target_length if cell.task.generates else 0)


def predict_peak(cell: Cell, predicted: Prediction, batch: BatchShape, device: Device) -> PredictedPeak:
    """From a config alone. Raises BenchError where the backbone's file has none."""
    base = predicted.base
    heads = 4 * sum(predicted.head.values())
    trained = 4 * predicted.total if cell.method.adapter == "full" else heads
    return PredictedPeak(
        device=device,
        batch=batch,
        loaded=base.weights + base.quantization + base.buffers + trained,
        state=2 * predicted.gradients + predicted.optimizer + predicted.importance + predicted.folded,
        activations=trace(cell, batch, device, predicted.sites, predicted.rank).activations,
        workspace=(2 * predicted.largest_matrix if cell.method.storage == "nf4" else 0)
        + (RUNTIME if device == "cpu" else 0),
    )
