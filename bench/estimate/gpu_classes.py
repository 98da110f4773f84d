"""Classes of NVIDIA GPUs: how fast they multiply and how much memory they have, by the name of their model.

Rates are NVIDIA's own, from the data sheets and architecture whitepapers of the cards, in 10^12 floating-point
operations per second: without sparsity, at boost clock. float32 is that of the CUDA cores, because the harness leaves
TF32 off (bench/device.py); bfloat16 is that of the tensor cores with sums in float32, and None where a card has none.
Where variants of a card share a row (SXM, PCIe, NVL), its numbers are those of the slowest. Memory is in 10^9 bytes as
sold, which is a little less than what the driver shows.

Snakemake reads this module at every parse, so it imports neither torch nor pandas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

# What a training on small batches keeps up of these rates: a guess on the safe side, not measured. Its matmuls are
# small, and the kernels in between wait for memory, which weighs more beside the faster tensor cores.
SUSTAINED_SHARE = {"float32": 0.25, "bfloat16": 0.10}
SLICES = 7  # of a card that is split (MIG); an A30 has four, and each of its instances counts as less than it is
# The name of an instance: 1g.10gb, or 1c.3g.20gb where one is split again. Sites write it without the dot, too.
_INSTANCE = re.compile(r"(?<![a-z0-9])(?:mig ?)?(?:(\d)c ?)?(\d)g ?(\d+)gb")
# Cards of laptops are called as faster ones are, and differ among each other.
_LAPTOP = re.compile(r"laptop|mobile|max q design")


@dataclass(frozen=True)
class GpuClass:
    """Cards that are called alike. float32, bfloat16: 10^12 operations per second. memory: 10^9 bytes, of each size."""

    name: str
    float32: float
    bfloat16: float | None
    memory: tuple[float, ...]

    def precision(self, storage: str) -> str:
        """In what a base stored as `storage` multiplies here: 'float32' or 'bfloat16' (bench/models/precision.py)."""
        return "float32" if storage == "fp32" or self.bfloat16 is None else "bfloat16"

    def sustained(self, storage: str) -> float:
        """Floating-point operations per second that a training on a base stored so is expected to keep up."""
        precision = self.precision(storage)
        rate = self.float32 if self.bfloat16 is None or precision == "float32" else self.bfloat16
        return 1e12 * SUSTAINED_SHARE[precision] * rate

    @property
    def bytes(self) -> int:
        """Memory of the smallest card of this class."""
        return round(1e9 * min(self.memory))


# The first pattern that the name holds decides, where a blank stands for any sign that is no letter or digit, or none.
_CLASSES = {
    "g?b200": GpuClass("B200", 75, 2250, (180,)),
    "h200": GpuClass("H200", 60, 835, (141,)),
    "gh200": GpuClass("GH200", 67, 990, (96,)),
    "h100": GpuClass("H100", 51, 756, (80, 94, 96)),
    "a100[xl]?": GpuClass("A100", 19.5, 312, (40, 80)),
    "a800": GpuClass("A800", 19.5, 312, (40, 80)),
    "l40s": GpuClass("L40S", 91.6, 362, (48,)),
    "l40": GpuClass("L40", 90.5, 181, (48,)),
    "l4": GpuClass("L4", 30.3, 121, (24,)),
    "a40": GpuClass("A40", 37.4, 149.7, (48,)),
    "a30": GpuClass("A30", 10.3, 165, (24,)),
    "a16": GpuClass("A16", 4.5, 17.9, (16,)),
    "a10g?": GpuClass("A10", 31.2, 70, (24,)),  # the A10G has 70, the A10 125
    "a2": GpuClass("A2", 4.5, 18, (16,)),
    "t4g?": GpuClass("T4", 8.1, None, (16,)),
    "v100[sl]?": GpuClass("V100", 14, None, (16, 32)),
    "p100l?": GpuClass("P100", 9.3, None, (12, 16)),
    "p40": GpuClass("P40", 11.8, None, (24,)),
    "rtx pro 6000": GpuClass("RTX PRO 6000", 110, 440, (96,)),
    "rtx 6000 ada|6000 ada generation": GpuClass("RTX 6000 Ada", 91.1, 364, (48,)),
    "rtx a6000|a6000": GpuClass("RTX A6000", 38.7, 154.8, (48,)),
    "rtx a5000|a5000": GpuClass("RTX A5000", 27.8, 111, (24,)),
    "rtx a4500|a4500": GpuClass("RTX A4500", 23.7, 94.6, (20,)),
    "rtx a4000|a4000": GpuClass("RTX A4000", 19.2, 76.7, (16,)),
    "rtx a2000|a2000": GpuClass("RTX A2000", 8, 31.9, (6, 12)),
    "rtx 5000 ada": GpuClass("RTX 5000 Ada", 65.3, 261, (32,)),
    "rtx 8000": GpuClass("Quadro RTX 8000", 16.3, None, (48,)),
    "rtx 6000": GpuClass("Quadro RTX 6000", 16.3, None, (24,)),
    "rtx 5000": GpuClass("Quadro RTX 5000", 11.2, None, (16,)),
    "titan rtx": GpuClass("TITAN RTX", 16.3, None, (24,)),
    "titan v": GpuClass("TITAN V", 13.8, None, (12,)),
    "(rtx )?5090": GpuClass("RTX 5090", 104.8, 209.5, (32,)),
    "(rtx )?4090( d)?": GpuClass("RTX 4090", 73.5, 147, (24,)),  # the 4090 D; the 4090 has 82.6 and 165
    "(rtx )?4080( super)?": GpuClass("RTX 4080", 48.7, 97.5, (16,)),
    "(rtx )?4070( ti)?( super)?": GpuClass("RTX 4070", 29.1, 58.3, (12, 16)),
    "(rtx )?3090( ti)?": GpuClass("RTX 3090", 35.6, 71, (24,)),
    "(rtx )?3080( ti)?": GpuClass("RTX 3080", 29.8, 59.5, (10, 12)),
    "(rtx )?3070( ti)?": GpuClass("RTX 3070", 20.3, 40.6, (8,)),
    "(rtx )?3060( ti)?": GpuClass("RTX 3060", 12.7, 25.4, (8, 12)),
    "(rtx )?2080 ti": GpuClass("RTX 2080 Ti", 13.4, None, (11,)),
    "(rtx )?2080( super)?": GpuClass("RTX 2080", 10.1, None, (8,)),
    "(gtx )?1080 ti": GpuClass("GTX 1080 Ti", 11.3, None, (11,)),
}
_SPLIT = GpuClass("MIG", 19.5, 312, (40, 80))  # where only the instance is named: the A100, the slowest with 7 slices


@cache
def gpu_class(model: str) -> GpuClass | None:
    """The class of a GPU by its name, as NVML says it, as Slurm's `gpu_model` does, or of an instance of a card.

    A name that tells the memory ('A100 80GB') has that size, and an instance ('1g.10gb') its share of the rates, which
    are those of an A100 where no card is named. None for a model that is not listed, and for cards of laptops.

    >>> gpu_class("NVIDIA A100-SXM4-80GB").bytes
    80000000000
    >>> gpu_class("rtx_3090").name, gpu_class("2g.20gb").name, gpu_class("k80")
    ('RTX 3090', 'MIG 2g.20gb', None)
    """
    name = re.sub(r"[^a-z0-9]+", " ", model.lower())
    if _LAPTOP.search(name):
        return None
    for pattern, found in _CLASSES.items():
        if re.search(rf"(?<![a-z0-9])({pattern.replace(' ', ' ?')})(?![a-z0-9])", name):
            return _instance(found, name)
    return _instance(_SPLIT, name) if _INSTANCE.search(name) else None


def _instance(found: GpuClass, name: str) -> GpuClass:
    """`found` with the memory that `name` tells, and with the share that an instance of a split card has."""
    if part := _INSTANCE.search(name):
        again, slices, gigabytes = part.groups()
        share = min(1.0, int(again or slices) / SLICES)
        tensor = None if found.bfloat16 is None else share * found.bfloat16
        label = f"{found.name} {f'{again}c.' if again else ''}{slices}g.{gigabytes}gb"
        return GpuClass(label, share * found.float32, tensor, (float(gigabytes),))
    size = re.search(r"(?<!\d)(\d+) ?gb", name)
    if size and int(size[1]) <= max(found.memory):  # a larger one is that of the host beside a GH200
        return replace(found, memory=(float(size[1]),))
    return found
