"""Ranks chosen by signal over noise, from averages that Adam keeps anyway (after Chen and Garner 2024).

Chen and Garner 2024 (A Bayesian Interpretation of Adaptive Low-Rank Adaptation, arXiv 2409.10673) train AdaLoRA's
layers with the variational optimizer IVON, which keeps a mean mu and a Hessian estimate h for every parameter. A
parameter's posterior is a normal distribution around mu with the standard deviation

    sigma = 1 / sqrt(N (h + delta))

for N training rows and weight decay delta. The score of a parameter is its signal over its noise, |mu| / sigma, and the
score of a rank is that of its singular value plus the mean over its row of A plus the mean over its column of B.

Here AdamW trains, as for every other method, so that the score is compared and not the optimizer. Its parameter p
stands for mu, and v, its average of the squared gradient, for h, as the empirical Fisher information does. So the score
is

    |p| / sigma = |p| sqrt(N v), which orders ranks as |p| sqrt(v) does,

the root mean square of what a parameter's gradients are worth, where AdaLoRA takes the mean of their absolute values
and multiplies it by their deviation. What else differs from the paper and its code: delta is 0, because AdamW's weight
decay acts outside of the gradient and is no prior, so a parameter without any gradient has no signal. N and the bias
correction of v are left out, since they are the same for all parameters. Of the four criteria that the paper compares
this is |mu| / sigma; the one that it prefers, mean over deviation of |theta|, depends on the absolute size of sigma,
for which v would have to be a Hessian and not only in proportion to one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bench.engine.allocators.adalora import AdaLora
from bench.engine.allocators.base import Allocator, StepFacts
from bench.engine.allocators.scores import Score
from bench.engine.flat import FlatParameters
from bench.engine.importance import RankSums
from bench.engine.options import AllocatorOptions
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError


class SignalToNoise(Score):
    """|p| sqrt(v) of every parameter p of the adapter, summed over ranks. It costs nothing until it is asked for.

    Adam's averages are read where the optimizer keeps them. After a checkpoint was loaded, and until the next step, the
    scores of the checkpoint stand in for them.
    """

    def __init__(self, flat: FlatParameters) -> None:
        self._flat, self._sums = flat, RankSums(flat)
        self._moments: Sequence[Tensor] | None = None  # the optimizer's own
        self._loaded: Tensor | None = None

    def update(self, facts: StepFacts, *, final: bool) -> None:  # noqa: ARG002
        """Raises BenchError without Adam's averages."""
        if facts.moments is None:
            raise BenchError("the allocator 'snr' reads the averages of Adam, which this step has none of")
        self._moments, self._loaded = facts.moments, None

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def of_triplets(self) -> Tensor:
        if self._moments is None:
            none = torch.zeros(self._flat.layout.triplets, device=self._flat.device)
            return none if self._loaded is None else self._loaded
        size = self._flat.layout.adapter_elements
        return self._sums.of(self._moments[1][:size].sqrt().mul_(self._flat.data[:size].abs()))

    def state(self) -> dict[str, Tensor]:
        return {"scores": self.of_triplets()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._moments, self._loaded = None, tensors["scores"].to(self._flat.device).clone()

    def bytes(self) -> int:
        return 0


def snr(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """AdaLoRA's schedule, masks and freeze, with signal over noise in place of its importance."""
    return AdaLora(flat, schedule, SignalToNoise, unit=options.unit, compact=options.compact)
