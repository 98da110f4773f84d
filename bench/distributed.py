"""The processes that train one cell together: what one of them knows of the others, and how they agree.

Gradients are summed where they are; decisions, counts and predictions travel over the CPU. Whatever goes wrong with
another process ends this one as a transient fault: the cell is tried again from its last checkpoint.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import EXIT_TRY_AGAIN, TransientError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
VARIABLE = "BENCH_TEAM"
PATIENCE = timedelta(hours=6)  # for one that evaluates; one that is gone is told by its connection at once


class MemberLost(TransientError):
    """Another process of the team ended before this one: what it died of is its own to tell."""


@dataclass(frozen=True)
class Team:
    """`rank` of `size` processes on one machine. The one of rank 0 leads: it alone writes what the cell leaves."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def part_of(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share of what all of them know: every `size`-th."""
        return items[self.rank :: self.size]

    def sum(self, tensor: Tensor) -> None:
        """Of all processes, in place, where the tensor is. Does not wait for a GPU."""
        if self.size > 1:
            self._collect("all_reduce", tensor)

    def from_leader(self, tensor: Tensor) -> None:
        """The leader's, in place, where the tensor is."""
        if self.size > 1:
            self._collect("broadcast", tensor, 0)

    def gather(self, value: T) -> list[T]:
        """What each process has, in order of rank; every process gets all. Waits for all."""
        if self.size == 1:
            return [value]
        everybody: list[Any] = [None] * self.size
        self._collect("all_gather_object", everybody, value, group=_over_the_cpu())
        return everybody

    def wait(self) -> None:
        """Until every process has come here."""
        self.gather(None)

    def _collect(self, function: str, *args: Any, **options: Any) -> None:
        from torch import OutOfMemoryError, distributed

        try:
            getattr(distributed, function)(*args, **options)
        except OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:  # a lost connection has no class of its own
            raise MemberLost(f"process {self.rank} of {self.size} has lost another: {error}") from error


ALONE = Team()


def variables_of(rank: int, size: int, meeting: Path) -> dict[str, str]:
    """The environment of a process that is to be `rank` of the team that meets in the file `meeting`, not there yet."""
    return {VARIABLE: f"{rank} {size} {meeting}"}


def is_member() -> bool:
    """Whether this process was started as one of a team."""
    return VARIABLE in os.environ


def end_with_parent() -> None:
    """From now on this process ends when its standard input does: whoever started it is gone then, and may be started
    again elsewhere."""

    def watch() -> None:
        while os.read(0, 1):
            continue
        os._exit(EXIT_TRY_AGAIN)

    threading.Thread(target=watch, daemon=True).start()


def join_team() -> Team:
    """The team that the environment names, all of it there; ALONE where it names none. Once a process."""
    if not is_member():
        return ALONE
    import torch
    from torch import distributed

    rank, size, meeting = os.environ[VARIABLE].split(" ", 2)
    team = Team(int(rank), int(size))
    distributed.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        init_method=f"file://{meeting}", rank=team.rank, world_size=team.size, timeout=PATIENCE,
    )  # fmt: skip
    _over_the_cpu()
    return team


@cache
def _over_the_cpu() -> Any:
    """The group for what is not on a device; made once a process, by all of them together."""
    from torch import distributed

    return distributed.new_group(backend="gloo", timeout=PATIENCE)
