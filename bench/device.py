"""The device that a process works on, and the settings under which its results repeat bit for bit."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from bench.errors import BenchError
from bench.nvml import CPU_IN_PLACE_OF_GPUS, VARIABLE, Gpu, cpu_in_place_of_gpus, driver_version, visible_gpus

# By CUDA's major version: the oldest driver that runs all of its minor ones.
NEEDED_DRIVER = {11: 450, 12: 525, 13: 580}
# Without a fixed workspace cuBLAS does not repeat its sums in the same order. PyTorch refuses to multiply without it.
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# NVIDIA's libraries ask this variable before they ask PyTorch, and a site may set it to 1.
NO_TF32 = ("NVIDIA_TF32_OVERRIDE", "0")


def usable_device() -> torch.device:
    """'cuda' if this process sees a GPU, else 'cpu'.

    Raises BenchError if it sees one that PyTorch cannot use: on the CPU the cell would take days and other bits, and
    nobody would notice. One that PyTorch has no kernels for would fail at the first of them, in every attempt.
    """
    if cpu_in_place_of_gpus():
        return torch.device("cpu")
    gpus = visible_gpus()
    if torch.cuda.is_available():
        _check_kernels(gpus if VARIABLE not in os.environ else gpus[:1])
        return torch.device("cuda")
    if gpus:
        raise BenchError(_unusable(gpus))
    return torch.device("cpu")


def has_kernels(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether a GPU of that compute capability runs one of the `architectures` that a PyTorch was built for.

    Machine code (sm_80) runs on its major version from its minor one on, that of one model (sm_90a) there alone; what
    the driver compiles (compute_90) runs on everything newer.

    >>> has_kernels((7, 0), ["sm_75", "sm_80"])
    False
    """
    major, minor = capability
    for kind, number, exact in (_architecture(name) for name in architectures):
        of_major, of_minor = divmod(number, 10)
        if exact:
            fits = (of_major, of_minor) == capability
        elif kind == "sm":
            fits = of_major == major and of_minor <= minor
        else:
            fits = (of_major, of_minor) <= capability
        if fits:
            return True
    return False


def _architecture(name: str) -> tuple[str, int, bool]:
    """'sm_90a' gives ('sm', 90, True)."""
    kind, _, number = name.partition("_")
    return kind, int("".join(filter(str.isdigit, number))), number.endswith("a")


def _check_kernels(gpus: Sequence[Gpu]) -> None:
    """Raises BenchError if PyTorch has kernels for none of `gpus`: without an order, CUDA begins with the fastest."""
    known = [(gpu, gpu.capability) for gpu in gpus if gpu.capability]
    architectures = torch.cuda.get_arch_list()
    if not known or not architectures or any(has_kernels(capability, architectures) for _, capability in known):
        return
    gpu, capability = known[0]
    of_gpu, oldest = ".".join(map(str, capability)), min(_architecture(name)[1] for name in architectures)
    raise BenchError(
        f"{gpu.uuid} ({gpu.model}) has compute capability {of_gpu}, and PyTorch {torch.__version__} has kernels for "
        f"{', '.join(architectures)}: it needs {oldest / 10} (Turing is 7.5) or newer; leave this GPU out by "
        f"{VARIABLE}, or install a PyTorch of an older CUDA as docs/slurm.md says"
    )


def make_deterministic(threads: int) -> None:
    """Settle what decides bits beside the spec: threads, deterministic kernels, no TF32. Call it before any kernel.

    An operation without a deterministic kernel raises an error. Only warned about, it would run; and PyTorch makes the
    backward pass of memory-efficient attention deterministic in this mode alone.
    """
    os.environ.update([CUBLAS_WORKSPACE, NO_TF32])
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, decides nothing here
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def needed_driver() -> int | None:
    """The oldest major version of NVIDIA's driver that this PyTorch works with; None if it is built without CUDA."""
    version = torch.version.cuda
    if version is None:
        return None
    major = int(version.split(".")[0])
    return NEEDED_DRIVER.get(major, NEEDED_DRIVER[max(NEEDED_DRIVER)])


def _unusable(gpus: list[Gpu]) -> str:
    named = ", ".join(f"{gpu.uuid} ({gpu.model})" if gpu.model else gpu.uuid for gpu in gpus)
    return (
        f"this job was given {'a GPU' if len(gpus) == 1 else f'{len(gpus)} GPUs'}, {named}, but PyTorch "
        f"{torch.__version__} cannot use {'it' if len(gpus) == 1 else 'them'}: {_reason()}; to train on the CPU, ask "
        f"for it: --set resources.gpus=0, or {VARIABLE}= (empty); where GPUs are only stand-ins: "
        f"{CPU_IN_PLACE_OF_GPUS}=1"
    )


def _reason() -> str:
    needed, driver = needed_driver(), driver_version()
    if needed is None:
        return "it is built without CUDA"
    what = f"its CUDA {torch.version.cuda} needs NVIDIA's driver {needed} or newer"
    if driver is None:
        return f"{what}, and none is found here (a container must be started with it: --nv, --gpus)"
    if int(driver.split(".")[0]) < needed:
        return f"{what}, here is {driver}"
    return f"{what}, here is {driver}, but CUDA does not start ({_error_of_cuda()})"


def _error_of_cuda() -> str:
    try:
        torch.zeros(1, device="cuda")
    except Exception as error:  # PyTorch has no class of its own for it
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return "it does now"
