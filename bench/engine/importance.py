"""Importance of every adapter parameter and of every rank: Zhang et al. 2023 (AdaLoRA), equations 7 to 11.

The importance of a parameter is its sensitivity |p * gradient|, averaged over the steps, times the average deviation
from that average (the uncertainty). The importance of a rank is that of its singular value, plus the mean over its row
of A, plus the mean over its column of B. It takes two float32 buffers as long as the adapter and six operations per
update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bench.engine.carry import carry
from bench.engine.flat import FlatParameters
from bench.engine.layout import Layout
from bench.engine.options import ImportanceKind


class RankSums:
    """Sums scores of parameters over each rank of `flat`: equation 7 of Zhang et al. 2023, as the layout is now."""

    def __init__(self, flat: FlatParameters) -> None:
        self._layout = flat.layout
        a_rows, b_rows = flat.layout.rows_of_triplets
        self._a_rows = torch.tensor(a_rows, device=flat.device, dtype=torch.long)
        self._b_rows = torch.tensor(b_rows, device=flat.device, dtype=torch.long)

    def of(self, scores: Tensor) -> Tensor:
        """The score of each rank [triplets]: that of E, plus the means over its row of A and its column of B.

        scores [adapter elements].
        """
        layout = self._layout
        means = torch.cat([scores[b.offset : b.end].view(b.rows, b.length).mean(dim=1) for b in layout.blocks])
        return scores[layout.row_elements : layout.adapter_elements] + (means[self._a_rows] + means[self._b_rows])


class Importance:
    """Exponential averages over the steps with `betas`: beta1 for the sensitivity, beta2 for the uncertainty.

    kind: `sensitivity-uncertainty` is the published product; `sensitivity` is that of the last step alone and
    `magnitude` is |E| (the ablations in table 5 of Zhang et al. 2023). `tensors` holds the buffers [adapter elements],
    for checkpoints.
    """

    def __init__(self, flat: FlatParameters, kind: ImportanceKind, betas: tuple[float, float]) -> None:
        self._flat, self._kind = flat, kind
        self._weights = (1 - betas[0], 1 - betas[1]) if kind == "sensitivity-uncertainty" else (1.0, 0.0)
        names = {"sensitivity-uncertainty": ("average", "deviation"), "sensitivity": ("average",), "magnitude": ()}
        size = flat.layout.adapter_elements
        self.tensors = {name: torch.zeros(size, device=flat.device) for name in names[kind]}
        self._sums = RankSums(flat)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the averages; `tensors` may hold others too."""
        for name, buffer in self.tensors.items():
            buffer.copy_(tensors[name])

    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    def carry(self, old: Layout) -> None:
        """Follow a change of the layout from `old`: averages keep their values, those of new ranks are zero."""
        for name, buffer in self.tensors.items():
            self.tensors[name] = carry(buffer, old, self._flat.layout)
        self._sums = RankSums(self._flat)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def update(self, finite: Tensor, gradient_scale: Tensor | None = None, hold: Sequence[slice] = ()) -> None:
        """Take in one optimizer step: the parameters after it times the gradient that led to it, as published.

        finite [] (1 or 0): after a skipped step nothing changes. gradient_scale []: divides the gradient, to undo
        clipping. hold: elements that got no gradient and keep their averages.
        """
        if not self.tensors:
            return
        size = self._flat.layout.adapter_elements
        held = [(buffer, part, buffer[part].clone()) for buffer in self.tensors.values() for part in hold]
        sensitivity = torch.mul(self._flat.data[:size], self._flat.grad[:size]).abs_()
        if gradient_scale is not None:
            sensitivity.div_(gradient_scale)
        # A skipped step must not poison the averages: lerp with weight 0 would still turn inf into NaN.
        sensitivity.nan_to_num_(0.0, 0.0, 0.0)
        average = self.tensors["average"].lerp_(sensitivity, finite * self._weights[0])
        if "deviation" in self.tensors:
            sensitivity.sub_(average).abs_()
            self.tensors["deviation"].lerp_(sensitivity, finite * self._weights[1])
        for buffer, part, value in held:
            buffer[part] = value

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def of_triplets(self) -> Tensor:
        """The importance of every rank [triplets], in float32."""
        if self._kind == "magnitude":
            return self._flat.singular.abs()
        scores = self.tensors["average"]
        if "deviation" in self.tensors:
            scores = scores * self.tensors["deviation"]
        return self._sums.of(scores)
