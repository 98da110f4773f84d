"""Where the host waits for a GPU in a micro-batch: nowhere.

There is no GPU here. On the meta device every operation is seen, and what would wait on a GPU has to ask for a value or
to copy from the host's pageable memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from helpers.splits import split_of
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from bench.evaluation.loss import task_loss
from bench.inputs.collate import Batch, Collator
from bench.inputs.splits import Split
from bench.models.attention import attention_on
from bench.models.precision import use_autocast
from bench.models.relative_positions import use_own_gathers

BERT = {"model_type": "bert", "num_attention_heads": 2, "intermediate_size": 16}
DEBERTA = {
    "model_type": "deberta-v2",
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
}
BART = {
    "model_type": "bart",
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "decoder_start_token_id": 2,
}
T5 = {"model_type": "t5", "num_heads": 2, "d_kv": 8, "d_ff": 16, "decoder_start_token_id": 0}
SIZES = {"vocab_size": 40, "hidden_size": 16, "d_model": 16, "num_hidden_layers": 2, "num_layers": 2}


class Waits(TorchDispatchMode):  # type: ignore[misc]
    """Note each operation for which the host would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.noted.append("a value is read")
            return False
        result = func(*args, **(kwargs or {}))
        places = {leaf.device.type for leaf in tree_iter((args, kwargs, result)) if isinstance(leaf, torch.Tensor)}
        if places == {"cpu", "meta"} and func._overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            self.noted.append("a copy")
        return result


def waits(config: dict[str, Any], attention: str, *, generates: bool, own_gathers: bool = True) -> list[str]:
    """What is waited for in the second micro-batch: in the first one, tables go to the device."""
    with torch.device("meta"):
        auto = AutoModelForSeq2SeqLM if generates else AutoModelForSequenceClassification
        kind = config["model_type"]
        chosen = AutoConfig.for_model(**{**SIZES, **config})
        model = auto.from_config(chosen, attn_implementation=attention)
        assert kind == model.config.model_type
        ids = torch.ones(3, 10, dtype=torch.long)
        targets = torch.ones((3, 6) if generates else (3,), dtype=torch.long)
    if own_gathers:
        use_own_gathers(model)
    for _ in range(2):
        with Waits() as seen:
            batch = Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, targets, 0)
            task_loss(model, batch, "summarization" if generates else "classification")[0].backward()
    return seen.noted


@pytest.mark.parametrize(
    ("config", "attention", "generates"),
    [(BERT, "sdpa", False), (DEBERTA, "eager", False), (BART, "sdpa", True), (T5, "sdpa", True)],
    ids=["BERT", "DeBERTa", "BART", "T5"],
)
def test_a_micro_batch_waits_for_nothing(config: dict[str, Any], attention: str, *, generates: bool) -> None:
    assert waits(config, attention_on("cuda", attention), generates=generates) == []
    assert attention_on("cpu", attention) == attention


def test_what_is_waited_for_without_our_parts() -> None:
    """Else the test above would see nothing whatever happened."""
    assert set(waits(BERT, "sdpa", generates=False)) == {"a value is read"}
    assert set(waits(BART, "sdpa", generates=True)) == {"a value is read"}
    assert set(waits(DEBERTA, "eager", generates=False, own_gathers=False)) == {"a copy"}


def test_autocast_waits_for_nothing() -> None:
    """It leaves the meta device out, so what is seen here are the operations of the CPU."""
    chosen = AutoConfig.for_model(**{**SIZES, **BERT})
    model = AutoModelForSequenceClassification.from_config(chosen, attn_implementation=attention_on("cuda", "sdpa"))
    use_autocast(model, [])
    ids = torch.ones(3, 10, dtype=torch.long)
    batch = Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, torch.ones(3, dtype=torch.long), 0)
    with Waits() as seen:
        task_loss(model, batch, "classification")[0].backward()
    assert seen.noted == []


def test_masks_hide_the_same_as_those_of_the_library() -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(**{**SIZES, **BERT, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa").eval()
    ids = torch.randint(0, 40, (3, 10))
    for shortest in (10, 4):
        mask = (torch.arange(10) < torch.tensor([[10], [shortest], [7 if shortest == 4 else 10]])).long()
        model.set_attn_implementation("sdpa")
        expected = model(input_ids=ids, attention_mask=mask).logits
        model.set_attn_implementation(attention_on("cuda", "sdpa"))
        torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, expected)


def test_a_gpu_gets_its_batch_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for both: pinning is noted, and the copy to the GPU stays here."""
    pinned: list[int] = []
    copied: list[tuple[bool, bool]] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor.data_ptr())
        return tensor

    def to(tensor: torch.Tensor, device: Any, *, non_blocking: bool = False) -> torch.Tensor:
        assert torch.device(device).type == "cuda"
        copied.append((tensor.data_ptr() in pinned, non_blocking))
        return tensor

    collate = Collator(split_of_two_rows(), "classification", _Tokenizer(), torch.device("cuda"))
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    collate([0, 1])
    assert copied == [(True, True)] * 3


class _Tokenizer:
    pad_token_id, pad_token_type_id, padding_side = 0, 0, "right"


def split_of_two_rows() -> Split:
    return split_of([np.array([1, 2, 3]), np.array([4, 5])], [0, 1], [np.array([0])] * 2)
