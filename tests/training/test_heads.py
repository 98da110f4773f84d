"""A seed gives the same heads, byte for byte, whatever the base is stored as: a new one and one of the checkpoint."""

from __future__ import annotations

import pytest
import torch
from helpers.small_cells import Lab
from torch import Tensor

from bench.inputs.backbones import prepare_backbone
from bench.models.backbone import head_modules, load_backbone


def heads(lab: Lab, storage: str, seed: int) -> dict[str, Tensor]:
    """The tensors of the heads of a cell whose base is stored so."""
    cell = lab.cell("lora")
    cell = cell.model_copy(update={"method": cell.method.model_copy(update={"storage": storage})})
    folder = prepare_backbone(cell.backbone, mirror=None, cache=lab.cache)
    torch.manual_seed(seed)
    model = load_backbone(cell, folder, torch.device("cpu"))
    names = head_modules(model, cell.backbone)
    return {f"{name}.{key}": t for name in names for key, t in model.get_submodule(name).state_dict().items()}


@pytest.mark.parametrize("storage", ["fp32_autocast", "bf16", "nf4"])
def test_the_bytes_of_float32(lab: Lab, storage: str) -> None:
    expected, found = heads(lab, "fp32", 3), heads(lab, storage, 3)
    assert expected.keys() == found.keys()
    assert {"bert.pooler.dense.weight", "classifier.weight"} <= expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name].view(torch.int32), values.view(torch.int32)), name
    drawn_anew = heads(lab, storage, 4)
    assert not torch.equal(drawn_anew["classifier.weight"], expected["classifier.weight"])
    assert torch.equal(drawn_anew["bert.pooler.dense.weight"], expected["bert.pooler.dense.weight"])  # the checkpoint's
