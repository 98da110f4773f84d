"""torch.autocast where the engine computes: its own products are always those of the types of their factors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

Method = TypeVar("Method", bound=Callable[..., Any])


def autocast_device(tensor: Tensor) -> str:
    """The type of device whose autocast applies to `tensor`. Where there are shapes alone, it is the CPU's that says
    whether it is on: the meta device has none, and CUDA's can't be turned on without a GPU."""
    device: str = tensor.device.type
    return "cpu" if device == "meta" else device


def without_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """Inside, products on the device of `tensor` are those of the types of their factors."""
    device = autocast_device(tensor)
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def aside(method: Method) -> Method:
    """Decorates a method of an object with the flat parameters `flat`: no gradient, and no autocast of the caller's."""

    @wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        with torch.no_grad(), without_autocast(self.flat.data):
            return method(self, *args, **options)

    return call  # type: ignore[return-value]
