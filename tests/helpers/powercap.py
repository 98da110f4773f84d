"""A machine whose processors count their energy: a stand-in for the folder in which Linux shows the counters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RANGE = 3_000_000  # microjoules after which a counter begins again: six steps of a training that takes 0.5 joules each


@dataclass(frozen=True)
class Powercap:
    """The counters of two packages, with a part of the first and the platform that holds all of it (psys)."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Powercap:
        """A new machine, whose counters have run for a while."""
        made = cls(folder)
        zones = {
            "intel-rapl:0": ("package-0", RANGE - 1000),
            "intel-rapl:0:0": ("core", 77),
            "intel-rapl:1": ("package-1", 2500),
            "intel-rapl:2": ("psys", 10),
        }
        for name, (kind, energy) in zones.items():
            (folder / name).mkdir(parents=True)
            (folder / name / "name").write_text(f"{kind}\n")
            (folder / name / "max_energy_range_uj").write_text(f"{RANGE}\n")
            (folder / name / "energy_uj").write_text(f"{energy}\n")
        return made

    def consume(self, microjoules: int, package: int = 0) -> None:
        """Let a package take so much, fewer than RANGE; its core takes a part of it, and the platform more."""
        parts = {f"intel-rapl:{package}": microjoules, "intel-rapl:0:0": microjoules // 2, "intel-rapl:2": RANGE // 3}
        for name, amount in parts.items():
            file = self.folder / name / "energy_uj"
            file.write_text(f"{(int(file.read_text()) + amount) % RANGE}\n")
