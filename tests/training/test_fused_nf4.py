"""An nf4 base multiplies by bitsandbytes' own operator, which has fused kernels on CUDA, wherever bfloat16 is fast."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from helpers.small_cells import Lab
from torch.utils._python_dispatch import TorchDispatchMode

from bench.config.rank_schedule import schedule_of
from bench.inputs.backbones import prepare_backbone
from bench.models import backbone as backbones
from bench.models.adapters import attach
from bench.models.backbone import find_sites, load_backbone
from bench.models.core import build_core


class Products(TorchDispatchMode):
    """Counts bitsandbytes' operators, and the types of what gemm_4bit multiplies.

    What an operator calls inside is not seen: on the CPU gemm_4bit unpacks the matrix by another one of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "bitsandbytes":
            name = func.overloadpacket.__name__
            self.counts[name] += 1
            if name == "gemm_4bit":
                self.types.add(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("fast", [True, False], ids=["bfloat16 is fast", "it is not"])
@pytest.mark.parametrize("method", ["qlora", "qlora_adalora"])
def test_each_layer_and_pass_takes_it_once(lab: Lab, monkeypatch: pytest.MonkeyPatch, method: str, fast: bool) -> None:
    monkeypatch.setattr(backbones, "matmul_dtype", lambda *_: torch.bfloat16 if fast else torch.float32)
    cell = lab.cell(method)
    model = load_backbone(cell, prepare_backbone(cell.backbone, mirror=None, cache=lab.cache), torch.device("cpu"))
    sites = find_sites(model, cell.backbone)
    model = attach(model, cell, sites)
    schedule = schedule_of(cell, 48, [(site.in_features, site.out_features) for site in sites])
    core = build_core(model, sites, cell, schedule)
    packed = [name for name, module in model.named_modules() if isinstance(module, Linear4bit)]
    adapted = [name for name in packed if name.endswith(".base_layer")]
    assert len(adapted) == len(sites)
    tokens = torch.randint(1, 90, (3, 8))
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": torch.tensor([0, 1, 0])}

    for _ in range(2):  # the second pass follows a step, which folds the singular values anew
        with Products() as forward:
            loss = model(**batch).loss
        with Products() as backward:
            core.accumulate(loss)
        core.step()
        assert forward.counts["gemm_4bit"] == (len(packed) if fast else 0)
        assert forward.types == ({torch.bfloat16} if fast else set())
        # Backward has no fused kernel: each matrix is unpacked. Nothing below the first layer is trained.
        assert backward.counts["gemm_4bit"] == 0
        assert 0 < backward.counts["dequantize_4bit"] <= len(packed)
    model.eval()
    with torch.no_grad(), Products() as evaluated:
        model(**batch)
    assert evaluated.counts["gemm_4bit"] == (len(packed) if fast else 0)
