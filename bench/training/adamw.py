"""AdamW (Loshchilov and Hutter 2019) on the flat parameters: fused, and a step is skipped without a sync."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from bench.models.flat import FlatParameters, carry
from bench.models.layout import Layout
from bench.spec.recipe import Recipe


class FlatAdamW:
    """The moments [elements] of `flat`, in its order; weight decay on its first `flat.decayed` elements only."""

    def __init__(self, flat: FlatParameters, recipe: Recipe) -> None:
        self._flat, self._recipe = flat, recipe
        self.steps = torch.zeros((), device=flat.device)
        self.reshape()

    def reshape(self) -> None:
        """Room for the present layout, moments at zero."""
        self.moment = torch.zeros_like(self._flat.data)
        self.square = torch.zeros_like(self._flat.data)

    def carry(self, old: Layout) -> None:
        """Follow a change of the layout, every moment as it was."""
        self.moment = carry(self.moment, old, self._flat.layout)
        self.square = carry(self.square, old, self._flat.layout)

    def step(self, learning_rate: float, found_inf: Tensor) -> None:
        """One update; none where found_inf [] is 1."""
        decayed = self._flat.decayed
        whole = self._recipe.weight_decay == 0 or decayed == self._flat.elements
        parts = [slice(None)] if whole else [slice(None, decayed), slice(decayed, None)]
        steps = self.steps.clone() if len(parts) > 1 else self.steps
        for part, decay, count in zip(parts, (self._recipe.weight_decay, 0.0), (self.steps, steps), strict=False):
            adamw(
                [self._flat.data[part]],
                [self._flat.grad[part]],
                [self.moment[part]],
                [self.square[part]],
                [],
                [count],
                fused=True,
                found_inf=found_inf,
                amsgrad=False,
                beta1=self._recipe.adam_betas[0],
                beta2=self._recipe.adam_betas[1],
                lr=learning_rate,
                weight_decay=decay,
                eps=self._recipe.adam_epsilon,
                maximize=False,
            )
