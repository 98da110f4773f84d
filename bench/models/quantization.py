"""Which matrices of a base are packed into 4 bits, asked of the library that packs them.

transformers decides it: every linear layer, apart from the heads and the `lm_head`, which it skips on our behalf, and
from the layers that a model's class names as too sensitive (`_keep_in_fp32_modules`), such as the `wo` of every T5.
Those stay in 16 bits.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from bench.config.backbone import Backbone


def nf4_config(backbone: Backbone, *, double_quantization: bool = True) -> Any:
    """The BitsAndBytesConfig under which `backbone` is loaded."""
    from transformers import BitsAndBytesConfig

    # By default transformers quantizes new heads too, which then can't be trained. The patterns match each head and
    # what is inside it, wherever it stands in the model.
    unpacked = [rf"(.*\.)?{re.escape(head)}(\..*)?" for head in [*backbone.head, "lm_head"]]
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double_quantization,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=unpacked,  # the name is of bitsandbytes' first days: it applies to 4-bit too
    )


def pack_layers(model: Any, backbone: Backbone) -> dict[str, Any]:
    """Replace the layers of a model on the meta device as loading under nf4 does; return the packed ones by name.

    The packed layers still have the shapes of what they stand for: nothing is quantized.
    """
    from transformers.quantizers.auto import AutoHfQuantizer

    AutoHfQuantizer.from_config(nf4_config(backbone)).preprocess_model(model, device_map={"": "cpu"})
    return {name: module for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}


def unpacked_layers(model: Any, packed: dict[str, Any]) -> dict[str, Any]:
    """The linear layers of `model` that are not among the `packed` ones, by name."""
    from transformers.pytorch_utils import Conv1D

    linear = (nn.Linear, Conv1D)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, linear) and name not in packed  # a Linear4bit is an nn.Linear too
    }


def use_linear_layers(model: Any, packed: dict[str, Any]) -> None:
    """Give a model on the meta device plain linear layers of the shapes of the `packed` ones, which can be computed."""
    for name, layer in packed.items():
        has_bias = layer.bias is not None
        plain = nn.Linear(layer.in_features, layer.out_features, bias=has_bias, device="meta", dtype=torch.bfloat16)
        model.set_submodule(name, plain)
