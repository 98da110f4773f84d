"""What share of a training step's launches an optimizer step has: the most that a CUDA graph of it could save.

    python benchmarks/step_launches.py [--json]

Counts, on the CPU, the operations of forward, backward and `Core.step`, in a model with the layers of DeBERTa-v3-base,
its 72 adapted matrices and width 64: operations do not depend on the width. Views and empty buffers launch no kernel,
and are left out of the table. AdaLoRA's step is counted where no rank is chosen, where some are, and at the freeze,
where ranks leave.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from adalora_step import TOTAL, OurStep
from counting import Operations

BEFORE = 2  # steps that are made before one is counted
# (adapter has singular values, steps between masks, last step before the ranks are final)
STEPS: dict[str, tuple[bool, int, int]] = {
    "LoRA": (False, TOTAL, TOTAL // 2),
    "AdaLoRA, ordinary step": (True, TOTAL, TOTAL // 2),
    "AdaLoRA, ranks are chosen": (True, 1, TOTAL // 2),
    "AdaLoRA, the freeze": (True, TOTAL, BEFORE + 1),
    "AdaLoRA, after the freeze": (True, TOTAL, BEFORE),
}


def launches(svd: bool, interval: int, freezes_at: int) -> dict[str, Any]:
    """Launches, and operations in all, of one step's forward, backward and optimizer step."""
    step = OurStep("proxy", svd, interval, freezes_at)
    for _ in range(BEFORE):
        step()
    operations = Operations()
    with operations:
        step(operations)
    launched = dict(operations.launches)
    share = launched["optimizer"] / sum(launched.values())
    return {"launches": launched, "operations": dict(operations.counts), "share_of_step": round(share, 4)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    found = {name: launches(*how) for name, how in STEPS.items()}
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print("| step | forward | backward | optimizer step | its share |\n|---|---|---|---|---|")
    for name, counts in found.items():
        parts = [f"{counts['launches'][part]:,}" for part in ("forward", "backward", "optimizer")]
        print(f"| {name} | {' | '.join(parts)} | {100 * counts['share_of_step']:.1f}% |")


if __name__ == "__main__":
    main()
