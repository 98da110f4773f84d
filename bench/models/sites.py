"""Adapter sites: the matrices of a backbone that an adapter changes, and which of them a method adapts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.config.method import Method
from bench.config.module_roles import role_of, third_of
from bench.engine.layout import Site
from bench.errors import BenchError


@dataclass(frozen=True)
class AdapterSite(Site):
    """One adapted matrix of a backbone: the engine's `Site`, and where the matrix stands in the model.

    `matrix` is the suffix by which the backbone's file names it, `layer` its index counted from 0 (None if the path
    holds no number), `stack` the part of the path before that index (`encoder.layer`, ...).
    """

    matrix: str = ""
    layer: int | None = None
    stack: str = ""


def matrix_shape(module: Any) -> tuple[int, int] | None:
    """The inputs and outputs of a linear layer; None for any other module.

    GPT-2's `Conv1D` is a linear layer too, whose weight is stored as [in, out].
    """
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, Conv1D):
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    return (module.in_features, module.out_features) if hasattr(module, "in_features") else None


def chosen_sites(sites: Sequence[AdapterSite], method: Method) -> tuple[AdapterSite, ...]:
    """Those of `sites` that the method adapts, by role (`matrices`) and by third of their stack (`depth`).

    Raises BenchError if none is left.

    Example:
        >>> chosen_sites(find_sites(model, backbone), method)  # `matrices: [query, value]` leaves two sites per layer
    """
    layers: dict[str, int] = {}  # by stack: how many layers it has
    for site in sites:
        layers[site.stack] = max(layers.get(site.stack, 0), (site.layer or 0) + 1)
    # A site outside of any layer counts as one of layer 0.
    chosen = tuple(
        site
        for site in sites
        if (method.matrices is None or role_of(site.matrix) in method.matrices)
        and (method.depth is None or third_of(site.layer or 0, layers[site.stack]) == method.depth)
    )
    if not chosen:
        raise BenchError(f"method {method.name!r} adapts none of the backbone's {len(sites)} matrices")
    return chosen
