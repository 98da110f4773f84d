"""torch.autocast for tensors on the meta device, which PyTorch's own leaves as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only


def _named(*names: str) -> frozenset[Callable[..., Any]]:
    """The functions of torch, of its tensors and of `torch.nn.functional` that have one of these names."""
    places = (torch, Tensor, functional)
    return frozenset(getattr(place, name) for name in names for place in places if hasattr(place, name))


# Of the lists in PyTorch's ATen/autocast_mode.h what models on the meta device call. In the first, arguments go to
# bfloat16; in the second, which only CUDA has, to float32.
LOWER = _named(
    "linear",
    "matmul",
    "__matmul__",
    "__rmatmul__",
    "mm",
    "bmm",
    "addmm",
    "baddbmm",
    "einsum",
    "conv1d",
    "conv2d",
    "scaled_dot_product_attention",
)
FLOAT32_ON_CUDA = _named(
    "softmax",
    "log_softmax",
    "logsumexp",
    "layer_norm",
    "group_norm",
    "rms_norm",
    "norm",
    "pow",
    "__pow__",
    "__rpow__",
    "rsqrt",
    "reciprocal",
    "exp",
    "log",
    "sum",
    "cumsum",
    "prod",
)


class MetaAutocast(TorchFunctionMode):  # type: ignore[misc]
    """Inside, operations on meta tensors cast as torch.autocast in bfloat16 does on that type of device.

    They do so wherever the CPU's autocast is on, which model and layers turn on and off (`autocast_device`). Casts of
    trained tensors are kept until the block ends, as autocast keeps them until the end of its own. A block that is
    checkpointed and computed again in the backward pass must enter a mode of its own, see `FusedKernels`.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self._to_float32 = FLOAT32_ON_CUDA if device == "cuda" else frozenset()
        self._cast: dict[int, Tensor] = {}  # by the id of a parameter, which the model keeps alive

    def __exit__(self, *error: Any) -> None:
        self._cast.clear()
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        cast = None
        if torch.is_autocast_enabled("cpu"):
            cast = self._lower if func in LOWER else Tensor.float if func in self._to_float32 else None
        if cast is not None:
            change = partial(_if_floating, cast)
            args, kwargs = tree_map_only(Tensor, change, args), tree_map_only(Tensor, change, kwargs)
        return func(*args, **(kwargs or {}))

    def _lower(self, tensor: Tensor) -> Tensor:
        if not (tensor.requires_grad and tensor.is_leaf and tensor.dtype == torch.float32):
            return tensor.bfloat16()
        if id(tensor) not in self._cast:
            self._cast[id(tensor)] = tensor.bfloat16()
        return self._cast[id(tensor)]


def _if_floating(cast: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    return cast(tensor) if tensor.is_meta and tensor.is_floating_point() else tensor
