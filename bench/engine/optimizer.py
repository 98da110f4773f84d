"""AdamW (Loshchilov and Hutter 2019) on the flat parameters: one fused call, and a skipped step needs no host sync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from bench.engine.carry import carry
from bench.engine.flat import FlatParameters
from bench.engine.layout import Kept, Layout
from bench.engine.options import StepOptions


@dataclass
class Newcomers:
    """Ranks that entered during the training and count their own optimizer steps.

    places [n]: their elements in the buffer; steps []: their step count on the device, for the bias correction; age:
    the same on the host. Over the first `warmup` of these steps their learning rate rises linearly.
    """

    ranks: Kept
    warmup: int
    age: int
    steps: Tensor
    places: Tensor

    def rate(self, learning_rate: float) -> float:
        return learning_rate * min(1.0, (self.age + 1) / max(1, self.warmup))


class FlatAdamW:
    """The two moments [elements] of `flat`, in its order. Only its first `flat.decayed` elements have weight decay."""

    name = "adamw"

    def __init__(self, flat: FlatParameters, options: StepOptions) -> None:
        self._flat, self._options = flat, options
        self.steps = torch.zeros((), device=flat.device)
        self.newcomers: list[Newcomers] = []
        self.reshape()

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Both moments, without bias correction."""
        return self.moment, self.square

    def bytes(self) -> int:
        """Bytes of both moments."""
        return int(2 * self.moment.numel() * self.moment.element_size())

    def reshape(self) -> None:
        """Make room for the present layout; all moments are zero."""
        self.moment = torch.zeros_like(self._flat.data)
        self.square = torch.zeros_like(self._flat.data)

    def carry(self, old: Layout) -> None:
        """Follow a change of the layout: every moment keeps its value, those of new ranks are zero.

        Newcomers that have left are forgotten: should they come back, they begin anew."""
        self.moment = carry(self.moment, old, self._flat.layout)
        self.square = carry(self.square, old, self._flat.layout)
        kept = self._flat.layout.kept
        for group in self.newcomers:
            group.ranks = tuple(
                tuple(rank for rank in ranks if rank in left) for ranks, left in zip(group.ranks, kept, strict=True)
            )
            group.places = self._places(group.ranks)
        self.newcomers = [group for group in self.newcomers if any(group.ranks)]

    def admit(self, ranks: Kept, warmup: int, age: int = 0, steps: Tensor | None = None) -> None:
        """From now on `ranks` count their own steps, so that bias correction and warm-up begin at their entry."""
        count = torch.zeros((), device=self._flat.device) if steps is None else steps.to(self._flat.device).clone()
        self.newcomers.append(Newcomers(ranks, warmup, age, count, self._places(ranks)))

    def forget(self, ranks: Kept, warmup: int) -> None:
        """The moments of `ranks` are zero, and they count their steps anew: their values mean something else now."""
        places = self._places(ranks)
        self.moment[places] = 0
        self.square[places] = 0
        self.admit(ranks, warmup)

    def step(self, learning_rate: float, found_inf: Tensor, hold: Sequence[slice] = ()) -> None:
        """One update of every parameter; none if found_inf [] is 1.

        hold: elements of adapters that got no gradient; they keep their values and moments, and do not decay.
        """
        buffers = (self._flat.data, self._flat.grad, self.moment, self.square)
        held = [
            (buffer, part, buffer[part].clone())
            for buffer in (self._flat.data, self.moment, self.square)
            for part in hold
        ]
        # The update below treats all elements alike; the newcomers' own update then starts from these values.
        before = [[buffer[group.places] for buffer in buffers] for group in self.newcomers]
        decayed = self._flat.decayed
        whole = self._options.weight_decay == 0 or decayed == self._flat.elements
        parts = [slice(None)] if whole else [slice(None, decayed), slice(decayed, None)]
        steps = self.steps.clone() if len(parts) > 1 else self.steps  # each call counts its own step count up
        for part, decay, count in zip(parts, (self._options.weight_decay, 0.0), (self.steps, steps), strict=False):
            self._update([buffer[part] for buffer in buffers], count, learning_rate, decay, found_inf)
        for group, values in zip(self.newcomers, before, strict=True):
            self._update(values, group.steps, group.rate(learning_rate), self._options.weight_decay, found_inf)
            for buffer, value in zip(buffers, values, strict=True):
                buffer[group.places] = value
            group.age += 1
        for buffer, part, value in held:
            buffer[part] = value

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain JSON from which `load` restores the optimizer bit for bit."""
        tensors = {
            "moment": self.moment,
            "square": self.square,
            "optimizer_steps": self.steps,
            **{f"newcomers.{index}": group.steps for index, group in enumerate(self.newcomers)},
        }
        groups = [
            {"ranks": [list(ranks) for ranks in group.ranks], "warmup": group.warmup, "age": group.age}
            for group in self.newcomers
        ]
        return tensors, {"newcomers": groups}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what `state` returned. The flat parameters have their layout already."""
        self.reshape()
        self.moment.copy_(tensors["moment"])
        self.square.copy_(tensors["square"])
        self.steps.copy_(tensors["optimizer_steps"])
        self.newcomers = []
        for index, group in enumerate(plain["newcomers"]):
            ranks = tuple(tuple(ranks) for ranks in group["ranks"])
            self.admit(ranks, group["warmup"], group["age"], tensors[f"newcomers.{index}"])

    def _update(
        self, tensors: Sequence[Tensor], steps: Tensor, learning_rate: float, decay: float, found_inf: Tensor
    ) -> None:
        """tensors: values, gradients, moments and squares [n], changed in place."""
        adamw(
            *([tensor] for tensor in tensors),
            [],
            [steps],
            fused=True,
            found_inf=found_inf,
            amsgrad=False,
            beta1=self._options.betas[0],
            beta2=self._options.betas[1],
            lr=learning_rate,
            weight_decay=decay,
            eps=self._options.epsilon,
            maximize=False,
        )

    def _places(self, ranks: Kept) -> Tensor:
        return torch.tensor(self._flat.layout.elements_of(ranks), device=self._flat.device, dtype=torch.long)
