"""DeBERTa's gathers with our backward pass: PyTorch's numbers, for rows of any length. It is used on GPUs alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

from bench.models.relative_positions import RelativePositions, use_own_gathers

BASE = (256, 256, 512)  # of deberta-v3-base: places of distances to each side, buckets, longest distance


def gradients(positions: RelativePositions, span: tuple[int, int, int], length: int, sign: int) -> tuple[Tensor, ...]:
    """What PyTorch gathers and its gradient, and what we do."""
    torch.manual_seed(length)
    row = torch.empty(length, 1)
    distances = build_relative_position(row, row, bucket_size=span[1], max_position=span[2])
    index = torch.clamp(sign * distances + span[0], 0, 2 * span[0] - 1).expand(2, length, length)
    weight = torch.randn(2, length, length)
    found = []
    for gather in (lambda x: torch.gather(x, -1, index), lambda x: positions.gather(x, index, sign)):
        scores = torch.randn(2, length, 2 * span[0], generator=torch.Generator().manual_seed(1)).requires_grad_()
        gathered = gather(scores)
        (gathered * weight).sum().backward()
        found += [gathered.detach(), scores.grad]
    return tuple(found)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("length", [1, 40, 128, 129, 256, 512])
def test_the_bits_of_a_sequential_sum(length: int, sign: int) -> None:
    gathered, gradient, ours, our_gradient = gradients(RelativePositions(*BASE[1:]), BASE, length, sign)
    assert torch.equal(gathered, ours)
    assert torch.equal(gradient, our_gradient)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("span", "length"), [(BASE, 600), ((16, 16, 24), 300), ((32, -1, 32), 100)])
def test_far_tokens_share_the_first_and_the_last_distance(span: tuple[int, int, int], length: int, sign: int) -> None:
    gathered, gradient, ours, our_gradient = gradients(RelativePositions(*span[1:]), span, length, sign)
    assert torch.equal(gathered, ours)
    torch.testing.assert_close(our_gradient, gradient, rtol=1e-4, atol=1e-4)
    assert (gradient[..., 0].abs() + gradient[..., -1].abs() > 0).any()


def test_longer_rows_before_it_change_no_bit() -> None:
    """Else a training that was interrupted would not end with the same bits."""
    span = (16, 16, 24)
    fresh, used = RelativePositions(*span[1:]), RelativePositions(*span[1:])
    for length in (300, 17, 150):
        gradients(used, span, length, 1)
    for length in (20, 40, 100):
        assert torch.equal(gradients(fresh, span, length, 1)[3], gradients(used, span, length, 1)[3])


def test_an_evaluation_may_come_first() -> None:
    """A table that it makes in inference mode serves the backward passes of a training."""
    span = (16, 16, 24)
    positions = RelativePositions(*span[1:])
    with torch.inference_mode():
        index = torch.clamp(positions.distances(40, torch.device("cpu")) + 16, 0, 31).expand(2, 40, 40)
        positions.gather(torch.zeros(2, 40, 32), index, 1)
    assert not positions.distances(40, torch.device("cpu")).is_inference()
    assert torch.equal(gradients(positions, span, 40, 1)[3], gradients(RelativePositions(*span[1:]), span, 40, 1)[3])


@pytest.mark.parametrize("kinds", [["p2c", "c2p"], ["p2c"], ["c2p"]])
@pytest.mark.parametrize("share", [True, False])
def test_a_model_computes_and_learns_the_same(kinds: list[str], *, share: bool) -> None:
    config = DebertaV2Config(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        relative_attention=True,
        position_buckets=8,
        max_relative_positions=16,
        pos_att_type=kinds,
        share_att_key=share,
        norm_rel_ebd="layer_norm",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    model = DebertaV2ForSequenceClassification(config)
    ids = torch.randint(5, 50, (3, 40))
    plain, learned = passed(model, ids)
    use_own_gathers(model)
    ours, learned_by_us = passed(model, ids)
    assert torch.equal(plain, ours)
    assert "_GatherBackward" in nodes(ours)
    assert "GatherBackward0" not in nodes(ours)
    for name, gradient in learned.items():
        torch.testing.assert_close(learned_by_us[name], gradient, rtol=1e-4, atol=1e-6)


def passed(model: Any, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits and the gradients of all parameters."""
    model.zero_grad()
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    logits.square().sum().backward()
    return logits, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def nodes(result: Tensor) -> set[str]:
    """The names of all functions in the graph of `result`."""
    found, left = set(), [result.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in found:
            found.add(node)
            left += [parent for parent, _ in node.next_functions]
    return {type(node).__name__ for node in found}
