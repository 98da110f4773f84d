"""The salience of ranks over a window of optimizer steps; `salientlora` has the equations and where they are from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.engine.allocators.base import StepFacts
from bench.engine.allocators.scores import Score
from bench.engine.flat import FlatParameters
from bench.engine.options import SalienceOptions


class SalientScore(Score):
    """The salience of every rank of `flat` over the steps since the window began.

    It keeps E [triplets], the penalty and whether the step counts, for every step of the window.
    """

    def __init__(self, flat: FlatParameters, options: SalienceOptions) -> None:
        self._flat, self._options = flat, options
        ranks, first = flat.layout.ranks, flat.layout.first_triplets
        owner = [0] * flat.layout.triplets
        for site, rank in enumerate(ranks):
            owner[first[site] : first[site] + rank] = [site] * rank
        self._owner = torch.tensor(owner, device=flat.device, dtype=torch.long)
        self._steps: list[Tensor] = []  # each [triplets + 2]: E, the penalty, 1 if the step counts

    def begin(self) -> None:
        """Begin a new window."""
        self._steps = []

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def update(self, facts: StepFacts, *, final: bool) -> None:  # noqa: ARG002
        penalty = torch.zeros_like(facts.finite) if facts.regularizer is None else facts.regularizer
        self._steps.append(torch.cat([self._flat.singular, penalty.view(1), facts.finite.view(1)]))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def of_triplets(self) -> Tensor:
        """magnitude + influence [triplets]; at least one step must have been taken in."""
        window = torch.stack(self._steps).double()
        values, penalty, counts = window[:, :-2], window[:, -2], window[:, -1]
        return (self._magnitude(values, penalty, counts) + self._influence(values, counts)).float()

    def state(self) -> dict[str, Tensor]:
        return {"window": torch.stack(self._steps)} if self._steps else {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        window = tensors.get("window")
        self._steps = [] if window is None else list(window.to(self._flat.device).clone())

    def _magnitude(self, values: Tensor, penalty: Tensor, counts: Tensor) -> Tensor:
        counted = counts > 0
        most = penalty.where(counted, -torch.inf).amax()
        least = penalty.where(counted, torch.inf).amin()
        weights = ((1 / penalty - 1 / most) / (1 / least - 1 / most)).nan_to_num(1.0)  # a penalty of 0 counts most
        weights = weights.where(most > least, torch.ones_like(weights)).where(counted, torch.zeros_like(weights))
        total = weights @ values.abs()
        sums = torch.zeros(len(self._flat.layout.sites), device=total.device, dtype=total.dtype)
        return _share(total, sums.index_add(0, self._owner, total)[self._owner])

    def _influence(self, values: Tensor, counts: Tensor) -> Tensor:
        mean = (counts @ values) / counts.sum().clamp_min(1)
        deviations = (values - mean) * counts.unsqueeze(1)
        order = torch.sort((deviations**2).sum(dim=0), stable=True).indices
        covariance = deviations[:, order].t() @ deviations[:, order]
        variance = covariance.diagonal()
        # A value without variance correlates with nothing: what is divided by 0 is 0.
        correlation = _share(covariance, torch.outer(variance, variance).sqrt())
        slopes = _share(covariance, variance.unsqueeze(1).expand_as(covariance))
        depends = (correlation >= self._options.correlation) & (slopes >= self._options.slope)
        slopes = slopes.where(depends, torch.zeros_like(slopes)).triu(1)  # below are only those of less variance
        ends = (slopes == 0).all(dim=1)
        reach = torch.linalg.solve_triangular(-slopes, ends.double().unsqueeze(1), upper=True, unitriangular=True)
        domain = torch.zeros_like(variance)
        domain[order] = reach.squeeze(1).where(~ends, torch.zeros_like(variance))
        return _share(domain, domain.sum())


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 0 where `whole` is 0."""
    return (part / whole).where(whole != 0, torch.zeros_like(part))
