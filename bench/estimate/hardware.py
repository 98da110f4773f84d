"""What jobs will run on, as far as that is known before they start: the CPU, or GPUs of a model.

Snakemake reads this module at every parse, so it imports neither torch nor pandas.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.config.cell import Cell
from bench.errors import BenchError
from bench.estimate.gpu_classes import GpuClass, gpu_class
from bench.nvml import cpu_in_place_of_gpus, visible_gpus

UNKNOWN_GPU_FLOPS = 8e12  # what a data-center GPU of today keeps up, of which the model is not known
# A core with AVX2 or better. The cells of results/demo/example reach 3e10 to 6e10, on AVX-512.
CPU_FLOPS_PER_THREAD = 2.5e10


@dataclass(frozen=True)
class Hardware:
    """gpu: whether jobs are given GPUs; model: what NVML or Slurm call these, None where it is not known; memory: bytes
    of the smallest; remote: whether jobs run on other machines than this one; slurm: whether Slurm starts them."""

    gpu: bool
    model: str | None = None
    memory: int | None = None
    remote: bool = False
    slurm: bool = False

    @property
    def card(self) -> GpuClass | None:
        """The class of the GPUs; None on the CPU, and for models that bench/estimate/gpu_classes.py does not list."""
        return gpu_class(self.model) if self.gpu and self.model else None

    @property
    def slow_at_bfloat16(self) -> bool:
        """Whether products of these GPUs are float32's however the base is stored; not where that is not known."""
        return self.card is not None and self.card.bfloat16 is None

    def flops(self, storage: str, threads: int) -> float:
        """Floating-point operations per second that one process of a training on a base stored so keeps up."""
        if not self.gpu:
            return CPU_FLOPS_PER_THREAD * threads
        return self.card.sustained(storage) if self.card else UNKNOWN_GPU_FLOPS

    def is_like(self, device: str) -> bool:
        """Whether the device of that name is of the same class, or of the same name; any is where no model is known.

        Cards of one class may differ in the size of their memory.
        """
        if self.model is None or device == self.model:
            return True
        other = gpu_class(device)
        return self.card is not None and other is not None and other.name == self.card.name

    def slower_than(self, device: str, storage: str) -> float | None:
        """How many times as long a step takes here as on the GPU called `device`; None if that cannot be told.

        At least 1: on a faster card, steps on small batches may wait for the host that starts the kernels.
        """
        if device == self.model:
            return 1.0
        other = gpu_class(device)
        if other is None or self.card is None:
            return None
        return max(1.0, other.sustained(storage) / self.card.sustained(storage))


def as_multiplied(cell: Cell, *, slow_at_bfloat16: bool) -> Cell:
    """`cell` as its memory is on a GPU that is slow at bfloat16: autocast is off there, which leaves `fp32`."""
    if not slow_at_bfloat16 or cell.method.storage != "fp32_autocast":
        return cell
    return cell.model_copy(update={"method": cell.method.model_copy(update={"storage": "fp32"})})


CPU = Hardware(gpu=False)
UNKNOWN_GPU = Hardware(gpu=True)


def hardware_here() -> Hardware:
    """That of this machine, as CUDA_VISIBLE_DEVICES leaves it. Of several GPUs the one with the least memory counts."""
    if cpu_in_place_of_gpus():
        return CPU
    try:
        gpus = visible_gpus()
    except BenchError:  # a cell says what is wrong with the driver, if one is trained here
        return UNKNOWN_GPU
    if not gpus:
        return CPU
    smallest = min(gpus, key=lambda gpu: gpu.memory or 0)
    return Hardware(gpu=True, model=smallest.model, memory=smallest.memory)
