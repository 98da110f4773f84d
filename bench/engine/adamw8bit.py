"""AdamW with moments of 8 bits (Dettmers et al. 2022) on the flat parameters.

It computes what bitsandbytes' `AdamW8bit` computes, with its operators that pack and unpack. The update between them is
written out here because bitsandbytes takes the count of steps from the host, and the host does not know whether a step
was skipped: bias correction, newcomers' own step counts and `found_inf` stay on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor

from bench.engine.carry import carry_triplets
from bench.engine.flat import FlatParameters
from bench.engine.layout import Kept, Layout
from bench.engine.options import StepOptions
from bench.engine.packed_moments import PackedMoments, Part

WORKING_BYTES = 20  # per element that is unpacked at a time: gradient, both moments, and what their update takes


@dataclass(frozen=True)
class _Factors:
    """What differs between ranks [triplets + 1, 1]; the last one is for everything that belongs to no rank.

    rate: minus the learning rate over the bias correction of the first moment. root: the square root of that of the
    second one. decay: what weight decay leaves of a value.
    """

    rate: Tensor
    root: Tensor
    decay: Tensor

    def of(self, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        """Those of the rows of `part`, each [rows, 1]."""
        return self.rate[part.ranks], self.root[part.ranks], self.decay[part.ranks]


class AdamW8bit:
    """The two moments of `flat` in 8 bits. Only its first `flat.decayed` elements have weight decay.

    `clock` [3, triplets + 1] counts the steps of each rank that were not skipped, holds the step after which it entered
    and over how many steps it warms up; the last column is for everything that belongs to no rank.

    Raises BenchError if bitsandbytes has no 8-bit optimizer for the device.
    """

    name = "adamw8bit"

    def __init__(self, flat: FlatParameters, options: StepOptions) -> None:
        self._flat, self._options = flat, options
        self._packed = PackedMoments(flat)
        self._made = 0  # steps, skipped ones too
        self.clock = torch.zeros(3, flat.layout.triplets + 1, device=flat.device)

    @property
    def moments(self) -> Sequence[Tensor]:
        """Both moments, without bias correction; each is unpacked when it is asked for."""
        return _Unpacked(self._packed)

    def bytes(self) -> int:
        """Bytes of both moments, with what belongs to their format."""
        return self._packed.bytes()

    def carry(self, old: Layout) -> None:
        """Follow a change of the layout: every moment keeps its bits, those of new ranks are zero."""
        self._packed.carry(old)
        ranks, rest = self.clock[:, :-1], self.clock[:, -1:]
        moved = torch.stack([carry_triplets(row, old, self._flat.layout) for row in ranks])
        self.clock = torch.cat([moved, rest], dim=1)

    def forget(self, ranks: Kept, warmup: int) -> None:
        """The moments of `ranks` are zero, and they count their steps anew: their values mean something else now.

        Over their first `warmup` steps their learning rate rises linearly.
        """
        layout = self._flat.layout
        triplets = [
            first + kept.index(rank)
            for first, kept, gone in zip(layout.first_triplets, layout.kept, ranks, strict=True)
            for rank in gone
        ]
        self._packed.forget(triplets)
        for row, value in enumerate((0, self._made, warmup)):
            self.clock[row, triplets] = value

    def step(self, learning_rate: float, found_inf: Tensor, hold: Sequence[slice] = ()) -> None:
        """One update of every parameter; none if found_inf [] is 1.

        hold: elements of adapters that got no gradient; they keep their values and moments, and do not decay.
        """
        skipped = found_inf.bool()
        factors = self._factors(learning_rate, found_inf)
        for part in self._packed.parts:
            keep = skipped
            for number, rows in enumerate(part.rows_in(hold)):
                keep = keep if number else skipped.expand(part.rows, 1).clone()
                keep[rows] = True
            self._update(part, factors, skipped, keep)
        self._made += 1

    def _factors(self, learning_rate: float, found_inf: Tensor) -> _Factors:
        """In float64 and rounded once, as bitsandbytes computes them on the host."""
        (beta1, beta2), (steps, entered, warmup) = self._options.betas, self.clock.double().unsqueeze(-1)
        self.clock[0] += 1 - found_inf
        steps = steps + (1 - found_inf)
        rate = learning_rate * ((self._made + 1 - entered) / warmup.clamp(min=1)).clamp(max=1)
        return _Factors(
            rate=(-rate / (1 - beta1**steps)).float(),
            root=(1 - beta2**steps).sqrt().float(),
            decay=(1 - rate * self._options.weight_decay).float(),
        )

    def _update(self, part: Part, factors: _Factors, skipped: Tensor, keep: Tensor) -> None:
        """AdamW's step of one part, in the order of operations of bitsandbytes, whose bits it gives."""
        beta1, beta2 = self._options.betas
        rate, root, decay = factors.of(part)
        values = part.of(self._flat.data)
        # Of a skipped step nothing is kept. Zeros in place of what is not finite spare the kernels undefined inputs.
        gradients = torch.where(skipped, 0.0, part.of(self._flat.grad))
        first = self._packed.read(part, 0).mul_(beta1).add_(gradients, alpha=1 - beta1)
        second = self._packed.read(part, 1).mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
        new = (first * rate).div_(second.sqrt().div_(root).add_(self._options.epsilon))
        new += values * decay if part.decayed and self._options.weight_decay else values
        values.copy_(torch.where(keep, values, new))
        self._packed.write(part, 0, first, keep)
        self._packed.write(part, 1, second, keep)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain JSON from which `load` restores the optimizer bit for bit."""
        packed = self._packed
        tensors = {"codes": packed.codes, "constants": packed.constants, "plain": packed.plain, "clock": self.clock}
        return {f"moments.{name}": tensor for name, tensor in tensors.items()}, {"optimizer_steps": self._made}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what `state` returned. The flat parameters have their layout already."""
        self._packed.reshape()
        self._packed.codes.copy_(tensors["moments.codes"])
        self._packed.constants.copy_(tensors["moments.constants"])
        self._packed.plain.copy_(tensors["moments.plain"])
        self.clock = tensors["moments.clock"].to(self._flat.device).clone()
        self._made = int(plain["optimizer_steps"])


class _Unpacked(Sequence[Tensor]):
    """Both moments in float32, each unpacked when it is asked for."""

    def __init__(self, packed: PackedMoments) -> None:
        self._packed = packed

    @overload
    def __getitem__(self, which: int) -> Tensor: ...

    @overload
    def __getitem__(self, which: slice) -> Sequence[Tensor]: ...

    def __getitem__(self, which: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(which, slice):
            return [self[index] for index in range(*which.indices(2))]
        return self._packed.unpacked(range(2)[which])

    def __len__(self) -> int:
        return 2
