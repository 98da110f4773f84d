"""An adapter site: one matrix of the backbone that an adapter changes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AdapterSite:
    """One adapted matrix of shape (out_features, in_features).

    `name` is the module's path inside the backbone, `matrix` the suffix by which the backbone's file names it, `layer`
    its index counted from 0 (None where the path holds no number), `stack` what comes before the layers (encoder, ...).
    """

    name: str
    matrix: str
    layer: int | None
    in_features: int
    out_features: int
    stack: str = ""

    @property
    def parameters_per_rank(self) -> int:
        """What one rank costs in a LoRA pair: a row of A and a column of B."""
        return self.in_features + self.out_features
