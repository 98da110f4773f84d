"""The optimizers of the training core, by the name that `StepOptions.optimizer` gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.engine.adamw8bit import AdamW8bit
from bench.engine.flat import FlatParameters
from bench.engine.layout import Kept, Layout
from bench.engine.optimizer import FlatAdamW
from bench.engine.options import OptimizerName, StepOptions
from bench.engine.packed_moments import check_available
from bench.errors import BenchError, nearest


class Optimizer(Protocol):
    """What the core asks of an optimizer; `FlatAdamW` says what each call means."""

    name: str

    @property
    def moments(self) -> Sequence[Tensor]: ...

    def step(self, learning_rate: float, found_inf: Tensor, hold: Sequence[slice] = ()) -> None: ...

    def carry(self, old: Layout) -> None: ...

    def forget(self, ranks: Kept, warmup: int) -> None: ...

    def bytes(self) -> int: ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]: ...

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None: ...


def build_optimizer(flat: FlatParameters, options: StepOptions) -> Optimizer:
    """The optimizer of `flat`. Raises BenchError if the name is unknown, or it can't run on the device."""
    made: dict[str, type[FlatAdamW] | type[AdamW8bit]] = {kind.name: kind for kind in (FlatAdamW, AdamW8bit)}
    if options.optimizer not in made:
        raise BenchError(f"unknown optimizer {options.optimizer!r}{nearest(options.optimizer, made)}")
    return made[options.optimizer](flat, options)


def check_optimizer(name: OptimizerName, device: torch.device) -> None:
    """Raises BenchError if the optimizer `name` can't run on `device`."""
    if name == AdamW8bit.name:
        check_available(device)
