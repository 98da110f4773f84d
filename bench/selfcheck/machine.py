"""What the machine is: driver, GPU, PyTorch's kernels, and a product whose result is known."""

from __future__ import annotations

import torch

from bench.device import usable_device
from bench.models.precision import matmul_precision
from bench.nvml import driver_version, visible_gpus
from bench.records.environment import environment
from bench.selfcheck.check import Finding, Place, judged

SIZE = 256


def device_works(place: Place) -> Finding:
    """Name driver, GPU and kernels, and multiply matrices of whole numbers, whose product is exact in each type."""
    device = usable_device()
    if device.type != place.device:
        return Finding("fail", f"PyTorch works on the {device.type} here, not on {place.device}")
    wrong = []
    for dtype in (torch.float32, torch.bfloat16):
        ones = torch.ones(SIZE, SIZE, device=device, dtype=dtype)
        if not torch.equal(ones @ ones, torch.full_like(ones, SIZE)):
            wrong.append(f"a product in {dtype} is wrong")
    facts = environment(place.device)
    precision = matmul_precision(place.device, "bf16")
    numbers = {
        "pytorch": torch.__version__,
        "cuda": torch.version.cuda,
        "driver": driver_version(),
        "kernels": torch.cuda.get_arch_list(),
        "gpus": [[gpu.uuid, gpu.model, gpu.capability, gpu.memory] for gpu in visible_gpus()],
        "precision_of_bf16": precision,
    }
    told = [
        str(facts["device_name"]),
        f"PyTorch {torch.__version__}",
        f"fp32_autocast, bf16 and nf4 multiply in {precision}",
    ]
    if place.device == "cuda":
        told.insert(1, f"driver {numbers['driver']}, CUDA {torch.version.cuda}")
    return judged(not wrong, ", ".join(wrong or told), **numbers)
