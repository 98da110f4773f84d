"""What a model must be before the training core takes its trainable parameters into one buffer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from bench.errors import BenchError


def check_trainable(
    adapter: str,
    factors: Iterable[nn.Parameter],
    others: Sequence[tuple[str, nn.Parameter]],
    device: torch.device,
    *,
    active: bool,
) -> None:
    """Raises BenchError if the buffer could not stand for these parameters of a model on `device`.

    factors: those of the adapter of this name, which the engine's layers train whatever they say of themselves.
    others: every other trainable parameter, by name. active: whether PEFT uses the adapter now; it freezes all others.
    """
    if torch.get_default_dtype() != torch.float32:
        raise BenchError(
            f"torch's default type is {torch.get_default_dtype()}; what is trained must be float32: "
            "call torch.set_default_dtype(torch.float32) first"
        )
    factors = list(factors)
    if active and not all(parameter.requires_grad for parameter in factors):
        raise BenchError(
            f"the adapter {adapter!r} is frozen, and so are the heads that were saved with it: load it with "
            "is_trainable=True"
        )
    for name, parameter in [*((f"of the adapter {adapter!r}", factor) for factor in factors), *others]:
        if parameter.device != device:
            raise BenchError(
                f"trainable parameter {name} is on {parameter.device}, the model on {device}: "
                "a model that is spread over several devices is not supported"
            )
    for name, parameter in others:
        if parameter.dtype != torch.float32:
            raise BenchError(
                f"trainable parameter {name} is {parameter.dtype}; what is trained must be float32: call .float() on it"
            )
