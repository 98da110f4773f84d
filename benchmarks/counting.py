"""Counts the operations and synchronizations of a piece of PyTorch code per part, and times several pieces in turn."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

SYNCHRONIZING = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal"}
ALLOCATING = {"empty", "empty_like", "empty_strided"}  # no kernel is launched for these, nor for a view


class Operations(TorchDispatchMode):  # type: ignore[misc]
    """Counts operations, those that launch a kernel on a GPU, and those that would wait for it, under the label that is
    set. An operation counts as one launch, though some are made of several kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.syncs: Counter[str] = Counter()
        self.label = "other"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[self.label] += 1
        if not func.is_view and func.overloadpacket.__name__ not in ALLOCATING:
            self.launches[self.label] += 1
        if func.overloadpacket.__name__ in SYNCHRONIZING:
            self.syncs[self.label] += 1
        return func(*args, **(kwargs or {}))

    @contextmanager
    def under(self, label: str) -> Iterator[None]:
        before, self.label = self.label, label
        try:
            yield
        finally:
            self.label = before

    def watch(self, owner: Any, name: str, label: str) -> None:
        """From now on, count what the method `owner.name` does under `label`."""
        method = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.under(label):
                return method(*args, **kwargs)

        setattr(owner, name, watched)


@contextmanager
def host_reads(operations: Operations) -> Iterator[None]:
    """Count `tolist`, `cpu` and `numpy` as synchronizations: no operation on the CPU, but each waits for a GPU."""
    originals = {name: getattr(Tensor, name) for name in ("tolist", "cpu", "numpy")}

    def counting(name: str) -> Callable[..., Any]:
        def read(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            operations.syncs[operations.label] += 1
            return originals[name](tensor, *args, **kwargs)

        return read

    try:
        for name in originals:
            setattr(Tensor, name, counting(name))
        yield
    finally:
        for name, method in originals.items():
            setattr(Tensor, name, method)


@contextmanager
def nothing(_label: str) -> Iterator[None]:
    """Stands in for `Operations.under` while nothing is counted."""
    yield


def timed(steps: dict[str, Callable[[], None]], pairs: int) -> dict[str, list[float]]:
    """Seconds of `pairs` calls of each, in turn; the order changes each time, so that no side always comes first."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    orders = itertools.cycle(itertools.permutations(steps))
    for step in steps.values():
        step()
    for _ in range(pairs):
        for name in next(orders):
            start = time.perf_counter()
            steps[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds: dict[str, list[float]], to: str) -> dict[str, float]:
    """The median over all pairs of each side's time divided by that of the side `to`."""
    return {
        name: round(statistics.median(a / b for a, b in zip(times, seconds[to], strict=True)), 3)
        for name, times in seconds.items()
    }
