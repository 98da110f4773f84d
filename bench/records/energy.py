"""What a record says of a cell's energy."""

from __future__ import annotations

from bench.config.types import Stored


class Energy(Stored):
    """Joules that counters of the hardware counted in each phase of `Seconds`; the start-up is in none of them.

    They add up over attempts as `Seconds.training` does. `sources`: "nvml", the GPUs' own counters, or "rapl", all
    processor packages of the machine; both, if attempts were made on machines of either kind. `shared`: others could
    use what was counted at the same time, so that it may not be this cell's alone.
    """

    training: float = 0.0
    evaluation: float = 0.0
    saving: float = 0.0
    sources: tuple[str, ...]
    shared: bool

    @property
    def total(self) -> float:
        """Joules of all phases."""
        return self.training + self.evaluation + self.saving
