"""Floating-point operations, counted operation by operation with torch's formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Operations(TorchDispatchMode):  # type: ignore[misc]
    """Inside, `total` grows by what matrix products take, a multiplication and its addition being two. Unlike torch's
    own counter it follows no modules, whose hooks would keep activations alive that a checkpoint gives up."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet is torch.ops.aten.addmm_:  # sum [n, m] += first [n, k] @ second [k, m]
            rows, inner = args[1].shape
            self.total += 2 * rows * inner * args[2].shape[1]
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **kwargs, out_val=made)
        return made
