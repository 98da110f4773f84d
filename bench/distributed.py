"""The processes that train one cell together, in the words of torch.distributed.

Gradients are summed on the device that holds them; decisions, counts and predictions travel over the CPU. If another
process is lost, this one ends with a TransientError: the cell is tried again from its last checkpoint.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import EXIT_TRY_AGAIN, TransientError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
TIMEOUT = timedelta(hours=6)  # for a process that evaluates alone; a lost connection is noticed at once
PARENT_CHECK = 0.5  # seconds between two looks whether the launcher is alive


class ProcessLost(TransientError):
    """Another process of the group ended before this one. That process reports the cause."""


@dataclass(frozen=True)
class ProcessGroup:
    """The process `rank` of `world_size` processes on one machine. Rank 0 is the main process: it alone writes files.

    With `world_size` 1 every method returns at once and torch.distributed is not needed.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share of `items`, which every process knows: every `world_size`-th one."""
        return items[self.rank :: self.world_size]

    def all_reduce_sum(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over all processes, in place on its device. Does not wait for a GPU."""
        if self.world_size > 1:
            self._collective("all_reduce", tensor, group=_group_of(tensor))

    def broadcast(self, tensor: Tensor) -> None:
        """Replace `tensor` by that of the main process, in place on its device."""
        if self.world_size > 1:
            self._collective("broadcast", tensor, 0, group=_group_of(tensor))

    def all_gather_object(self, value: T) -> list[T]:
        """The `value` of each process in order of rank, in every process. Waits for all of them."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        self._collective("all_gather_object", values, value)
        return values

    def barrier(self) -> None:
        """Wait until every process has come here."""
        self.all_gather_object(None)

    def _collective(self, function: str, *args: Any, **options: Any) -> None:
        from torch import OutOfMemoryError, distributed

        try:
            getattr(distributed, function)(*args, **options)
        except OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:  # torch has no exception of its own for a lost connection
            raise ProcessLost(f"process {self.rank} of {self.world_size} has lost another: {error}") from error


SINGLE_PROCESS = ProcessGroup()


def world_size() -> int:
    """How many processes torchrun, or whoever set the environment variables as it does, has started together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def init_process_group() -> ProcessGroup:
    """Meet the other processes, as RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say; call it once per process.

    Returns SINGLE_PROCESS where they name no other. On GPUs the process works on number LOCAL_RANK of those it sees.
    They agree on the device first, over the CPU. Raises TransientError in all of them if only some see a GPU: had each
    chosen by itself between NCCL and gloo, they would wait for one another until the time limit.
    """
    if world_size() == 1:
        return SINGLE_PROCESS
    import torch
    from torch import distributed

    distributed.init_process_group("gloo", timeout=TIMEOUT)
    processes = ProcessGroup(distributed.get_rank(), distributed.get_world_size())
    see = processes.all_gather_object(torch.cuda.is_available())
    if all(see):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        _gpu_group()
    elif any(see):
        blind = ", ".join(str(rank) for rank, sees in enumerate(see) if not sees)
        raise TransientError(
            f"process {blind} of {len(see)} sees no GPU, the others do: see nvidia-smi on this machine"
        )
    return processes


def exit_with_parent() -> None:
    """From now on end this process when its parent, the launcher, has ended: the cell may be started again elsewhere.

    torchrun ends its processes when it gets a signal, but can't when it is killed.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK)
        os._exit(EXIT_TRY_AGAIN)

    threading.Thread(target=watch, daemon=True).start()


def _group_of(tensor: Tensor) -> Any:
    """The group that works where `tensor` is; None stands for that of the CPU."""
    return _gpu_group() if tensor.is_cuda else None


@cache
def _gpu_group() -> Any:
    """The group for values that are on GPUs. All processes make it together, once."""
    from torch import distributed

    return distributed.new_group(backend="nccl", timeout=TIMEOUT)
