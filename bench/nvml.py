"""The NVIDIA GPUs that this process may use, asked of the driver by NVML: no CUDA is initialized, so a fork stays safe.

A GPU is known by its UUID, whatever CUDA_VISIBLE_DEVICES calls it. A card that is split (MIG) counts as its instances,
since a process can use one of these and not the card. Nothing here imports torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError

T = TypeVar("T")
VARIABLE = "CUDA_VISIBLE_DEVICES"
CPU_IN_PLACE_OF_GPUS = "BENCH_CPU_IN_PLACE_OF_GPUS"
CELLS_ON_GPU = "BENCH_CELLS_ON_GPU"  # set by what holds a GPU for a cell (bench/pipeline/gpus.py)
NO_GPU = ("", "-1", "NoDevFiles")  # entries of CUDA_VISIBLE_DEVICES that name no GPU
# What else says which GPUs a job was given: Slurm's step and job, a container's runtime, and those for AMD's GPUs.
ALSO_GIVEN = (
    "SLURM_STEP_GPUS",
    "SLURM_JOB_GPUS",
    "NVIDIA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
)
# Values of NVIDIA_VISIBLE_DEVICES that name no GPU. Images say `all` by themselves, on machines without one too.
NAMES_NONE = ("all", "none", "void")
OFF = ("", "0", "false", "no", "off")  # of a variable that switches something on
CONTROL_DEVICE = Path("/dev/nvidiactl")  # is there where the driver runs, in containers too
TIMEOUT = 60  # seconds for a process that asks CUDA
# Run in a process of its own, because CUDA must not be initialized in one that forks later.
_ASK_CUDA = """\
import json, torch
found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
print(json.dumps([[str(gpu.uuid), gpu.name, gpu.total_memory, gpu.major, gpu.minor] for gpu in found]))
"""


@dataclass(frozen=True)
class Gpu:
    """A GPU or an instance of one, by what the driver says of it.

    None: nobody could be asked, or the driver does not tell (GPUs that share the host's memory have none of their own).

    uuid: its name for CUDA_VISIBLE_DEVICES; where nobody could be asked, what that variable calls it. model: such as
    'NVIDIA H100 80GB HBM3'. memory: bytes. capability: such as (9, 0). card: the UUID of the card that it is a part of,
    or its own.
    """

    uuid: str
    model: str | None = None
    memory: int | None = None
    capability: tuple[int, int] | None = None
    card: str | None = None


def visible_gpus() -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves to this process, in its order; all if it is not set.

    Numbers in it count as nvidia-smi counts. As CUDA does, it reads the variable up to the first entry that names none.
    Where nobody can be asked (a container that lacks the driver's libraries, stand-ins for GPUs), they are those that
    the variable says. Where it says nothing and none is found, they are those that one of ALSO_GIVEN says.
    Raises BenchError if an entry names a GPU that is not here, or if the driver is there but does not answer.
    """
    names = _names(os.environ.get(VARIABLE))
    said = [Gpu(name) for name in (_also_given() if names is None else names)]
    if names == [] or cpu_in_place_of_gpus():
        return said
    cards = _cards()
    if cards is None:
        return (_asked_of_cuda(",".join(names or ())) if CONTROL_DEVICE.exists() else []) or said
    if names is None:
        return [gpu for card in cards for gpu in card] or said
    chosen: dict[str, Gpu] = {}  # by UUID: a card may be named twice
    for name in names:
        chosen |= {gpu.uuid: gpu for gpu in _named(name, cards)}
    return list(chosen.values())


def cpu_in_place_of_gpus() -> bool:
    """Whether cells that were given GPUs are to run on the CPU, as on a test cluster whose GPUs are stand-ins."""
    return os.environ.get(CPU_IN_PLACE_OF_GPUS, "").strip().lower() not in OFF


def cells_on_gpu() -> int:
    """How many cells could share the GPU of this process, itself counted; 1 where nothing says so."""
    return int(os.environ.get(CELLS_ON_GPU, "1"))


def driver_version() -> str | None:
    """The version of NVIDIA's driver, such as '580.65.06'; None where there is none that answers."""
    import pynvml

    with suppress(pynvml.NVMLError), _session():
        return str(pynvml.nvmlSystemGetDriverVersion())
    return None


def processes_on(uuid: str) -> list[int]:
    """The ids of the processes that compute on that GPU, sorted; empty where the driver does not tell.

    In a container they are those that the host counts, or only the container's own.
    """
    import pynvml

    with suppress(pynvml.NVMLError), _session():
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByUUID(uuid))
        return sorted({int(process.pid) for process in running})
    return []


def consumed_joules(cards: Sequence[str]) -> float | None:
    """What these cards, by UUID, have consumed together since their driver was loaded, by their own counters.

    None if one of them does not tell: those before Volta have no counter.
    """
    import pynvml

    with suppress(pynvml.NVMLError), _session():
        handles = [pynvml.nvmlDeviceGetHandleByUUID(card) for card in cards]
        return sum(int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) for handle in handles) / 1000  # millijoules
    return None


def _names(listed: str | None) -> list[str] | None:
    """The entries of a variable as CUDA reads them, up to the first that names no GPU; None if it is not set."""
    if listed is None:
        return None
    names = [name.strip() for name in listed.split(",")]
    return names[: next((place for place, name in enumerate(names) if name in NO_GPU), len(names))]


def _also_given() -> list[str]:
    """What the first of ALSO_GIVEN that names a GPU calls those that this job was given; empty if none does."""
    for variable in ALSO_GIVEN:
        names = _names(os.environ.get(variable)) or []
        if names and names[0] not in NAMES_NONE:
            return names
    return []


def _named(name: str, cards: Sequence[Sequence[Gpu]]) -> Sequence[Gpu]:
    """The GPU that an entry of CUDA_VISIBLE_DEVICES names, or all instances of a split card. Raises BenchError."""
    if name.isdecimal():
        if int(name) < len(cards):
            return cards[int(name)]
    else:  # CUDA takes the beginning of a UUID, too
        found = [gpu for card in cards for gpu in card if gpu.uuid.startswith(name)]
        found = found or [gpu for card in cards for gpu in card if (gpu.card or "").startswith(name)]
        if found:
            return found
    here = ", ".join(gpu.uuid for card in cards for gpu in card) or "none"
    raise BenchError(f"{VARIABLE} names the GPU {name}, which is not here ({len(cards)} here: {here})")


def _cards() -> list[list[Gpu]] | None:
    """Of each card, in the order of nvidia-smi, itself or its instances. None where NVML is not installed.

    A card that this job may not use has no number. Raises BenchError if the driver does not answer.
    """
    import pynvml

    cards = []
    try:
        with _session():
            for number in range(pynvml.nvmlDeviceGetCount()):
                try:
                    card = pynvml.nvmlDeviceGetHandleByIndex(number)
                except pynvml.NVMLError_NoPermission:
                    continue
                cards.append(_instances(card) or [_described(card, card)])
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return None
    except pynvml.NVMLError as error:
        advice = f"set {VARIABLE}= (empty) to work on the CPU"
        raise BenchError(f"NVIDIA's driver does not answer: {error}; {advice}") from error
    return cards


def _instances(card: Any) -> list[Gpu]:
    """The instances of a card that this job may use; none if it is not split."""
    import pynvml

    try:
        if pynvml.nvmlDeviceGetMigMode(card)[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return []
    except pynvml.NVMLError:  # most models cannot be split
        return []
    found = []
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(card)):
        with suppress(pynvml.NVMLError):  # a place without an instance, or with that of another job
            found.append(_described(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(card, number), card))
    return found


def _described(handle: Any, card: Any) -> Gpu:
    """`handle`: of a card or of an instance of `card`. Raises NVMLError if the driver does not tell the UUIDs."""
    import pynvml

    return Gpu(
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        model=_if_supported(lambda: str(pynvml.nvmlDeviceGetName(handle))),
        memory=_if_supported(lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)),
        capability=_if_supported(lambda: tuple(pynvml.nvmlDeviceGetCudaComputeCapability(card))),
        card=str(pynvml.nvmlDeviceGetUUID(card)),
    )


def _if_supported(ask: Callable[[], T]) -> T | None:
    """What `ask` returns; None where the driver has no such figure of this model. Raises other NVMLErrors."""
    import pynvml

    try:
        return ask()
    except pynvml.NVMLError_NotSupported:
        return None


@contextmanager
def _session() -> Iterator[None]:
    """NVML is loaded while the block runs. Raises NVMLError."""
    import pynvml  # imported late, here and above: Snakemake imports this module at each parse

    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


@cache  # it takes seconds
def _asked_of_cuda(given: str) -> list[Gpu]:  # noqa: ARG001 (CUDA reads it from the environment)
    """What CUDA sees, for a container that has the driver but not NVML; empty where CUDA does not work either."""
    words = [sys.executable, "-c", _ASK_CUDA]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT, check=True)
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    found = []
    for uuid, model, memory, major, minor in answer:
        name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"{'MIG' if 'MIG' in model else 'GPU'}-{uuid}"
        found.append(Gpu(name, model, memory, (major, minor)))
    return found
