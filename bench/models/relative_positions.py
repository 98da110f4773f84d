"""DeBERTa's gathers by relative position, with a backward pass that is deterministic and sorts nothing.

Each layer picks from scores for every distance, [n, length, distances], those of the distances between its tokens,
[n, length, length]. Where a distance is picked more than once (long distances share a bucket), its gradient is a sum.
PyTorch's deterministic way to add them up sorts all n * length * length indices in each layer and takes gigabytes for
it. But the indices are the same in all n parts and follow from the length alone, so here a table says for each distance
which places picked it. The backward pass gathers too, once for each place at which a distance can stand in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Ints = NDArray[np.int64]
# Of the backward pass. The first and the last distance, which all tokens share that are too far apart, may take more.
MOST_PASSES = 8
SHORTEST = 128  # tokens of the rows that are counted first


def use_own_gathers(model: nn.Module) -> None:
    """Let a DeBERTa-v2 or -v3 `model` gather by `RelativePositions` and take distances from there, too.

    Another model stays as it is. What the layers compute is the same, bit for bit; gradients are the same up to the
    order of their sums.
    """
    known: dict[tuple[int, int], RelativePositions] = {}
    for module in model.modules():
        if not getattr(module, "relative_attention", False):
            continue
        key = (getattr(module, "position_buckets", -1), module.max_relative_positions)
        positions = known.setdefault(key, RelativePositions(*key))
        if hasattr(module, "disentangled_attention_bias"):
            signs = [sign for kind, sign in (("c2p", 1), ("p2c", -1)) if kind in module.pos_att_type]
            module.disentangled_attention_bias = partial(_bias, module.disentangled_attention_bias, positions, signs)
        elif hasattr(module, "get_rel_pos"):
            module.get_rel_pos = partial(_distances, module.get_rel_pos, positions)


def _bias(
    original: Callable[..., Tensor], positions: RelativePositions, signs: Sequence[int], *args: Any, **options: Any
) -> Tensor:
    """The attention's own method, in which each `torch.gather` is ours."""
    with _Gathering(positions, signs):
        return original(*args, **options)


def _distances(
    original: Callable[..., Tensor],
    positions: RelativePositions,
    hidden_states: Tensor,
    query_states: Tensor | None = None,
    relative_pos: Tensor | None = None,
) -> Tensor:
    """What the encoder's own method computes. It copies a number to the GPU each time, which waits for the GPU."""
    if query_states is None and relative_pos is None:
        return positions.distances(hidden_states.size(-2), hidden_states.device)
    return original(hidden_states, query_states, relative_pos)


class _Gathering(TorchFunctionMode):  # type: ignore[misc]
    """Inside, the calls of `torch.gather` are those of the distances with these `signs`, one after the other."""

    def __init__(self, positions: RelativePositions, signs: Sequence[int]) -> None:
        super().__init__()
        self._positions, self._signs = positions, iter(signs)

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func is not torch.gather:
            return func(*args, **(kwargs or {}))
        return self._gather(*args, **(kwargs or {}))

    def _gather(self, scores: Tensor, dim: int, index: Tensor) -> Tensor:
        sign = next(self._signs, None)
        if sign is None or index.size(-1) != index.size(-2):  # queries of another length than keys, which no cell has
            return torch.gather(scores, dim, index)
        return self._positions.gather(scores, index, sign)


class RelativePositions:
    """The distances between the tokens of a row, as DeBERTa counts them: long ones in buckets.

    buckets, longest: `position_buckets` and `max_relative_positions` of the model's config.

    Example:
        >>> positions = RelativePositions(buckets=256, longest=512)
        >>> positions.gather(scores, index, sign=1)  # [n, length, 512], [n, length, length] -> [n, length, length]
    """

    def __init__(self, buckets: int, longest: int) -> None:
        self._buckets, self._longest = buckets, longest
        self._known: dict[torch.device, Tensor] = {}
        self._tables: dict[tuple[int, int, torch.device], _Table] = {}

    def distances(self, length: int, device: torch.device) -> Tensor:
        """[1, length, length]: from each token to each other. Those of a shorter row are the first of a longer one."""
        known = self._known.get(device)
        if known is None or len(known) < length:
            known = self._known[device] = _put(self._count(_grown(length, known)), device)
        return known[None, :length, :length]

    def gather(self, scores: Tensor, index: Tensor, sign: int) -> Tensor:
        """As `torch.gather(scores, -1, index)`. `index`: the places of all distances times `sign` (1 or -1)."""
        distances, length = scores.size(-1), index.size(-1)
        key = (sign, distances, scores.device)
        table = self._tables.get(key)
        if table is None or len(table) < length:
            places = sign * self._count(_grown(length, table)) + distances // 2
            table = self._tables[key] = _Table(np.clip(places, 0, distances - 1), distances, scores.device)
        result: Tensor = _Gather.apply(scores, index, table)
        return result

    def _count(self, length: int) -> Ints:
        """[length, length], by transformers' own function."""
        from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

        with torch.device("cpu"):  # wherever the model is, the meta device included
            rows = torch.empty(length, 1)
            counted = build_relative_position(rows, rows, bucket_size=self._buckets, max_position=self._longest)
        distances: Ints = counted[0].numpy()
        return distances


def _put(numbers: Ints, device: torch.device) -> Tensor:
    """On `device`, for a training too, even if an evaluation in inference mode is what needs them first."""
    with torch.inference_mode(False):
        return torch.from_numpy(numbers).to(device)


def _grown(length: int, known: Sized | None) -> int:
    """For how long a row to count: at the least for twice the `known` length, not anew for each row a little longer."""
    return max(length, SHORTEST if known is None else 2 * len(known))


class _Table:
    """For rows of up to as many tokens as it is long, the places that picked each distance.

    For a shorter row the entries within its length hold.

    places [passes, length, distances]: in pass p, the p-th place of a row that picked the distance, or `length`.
    passes: of a row of n tokens, at n - 1. far: whether those passes leave out the first and the last distance.

    Made with NumPy, since a model on the meta device is traced by modes that would answer for PyTorch's numbers.
    """

    def __init__(self, index: Ints, distances: int, device: torch.device) -> None:
        length = len(index)
        rank = _ranks(index)
        inner = (index > 0) & (index < distances - 1)
        everywhere, inside = _needed(rank), _needed(np.where(inner, rank, 0))
        # A function of the length alone: what came before must not decide the order of sums.
        self.far = [bool(passes > MOST_PASSES) for passes in everywhere]
        self.passes = [int(i if far else e) for far, e, i in zip(self.far, everywhere, inside, strict=True)]
        kept = rank < max(self.passes)
        places = np.full((max(self.passes), length, distances), length)
        row, place = kept.nonzero()
        places[rank[kept], row, index[kept]] = place
        self.places = _put(places, device)

    def __len__(self) -> int:
        return int(self.places.size(1))


def _ranks(index: Ints) -> Ints:
    """[length, length]: the how-manieth place of its row, from 0, each one is that picked its distance."""
    order = np.argsort(index, axis=-1, kind="stable")
    picked = np.take_along_axis(index, order, -1)
    place = np.arange(len(index))
    new = np.diff(picked, axis=-1, prepend=-1) != 0
    first = np.maximum.accumulate(np.where(new, place, 0), axis=-1)
    rank = np.empty_like(index)
    np.put_along_axis(rank, order, place - first, -1)
    return rank


def _needed(rank: Ints) -> Ints:
    """For each length from 1, how many passes it needs: one more than the largest rank within it."""
    place = np.arange(len(rank))
    largest = np.zeros_like(place)
    np.maximum.at(largest, np.maximum(place[:, None], place), rank)
    return np.maximum.accumulate(largest) + 1


class _Gather(torch.autograd.Function):  # type: ignore[misc]
    """scores [n, length, distances], index [n, length, length] -> [n, length, length]."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, index: Tensor, table: _Table) -> Tensor:
        ctx.table, ctx.distances = table, scores.size(-1)
        ctx.save_for_backward(index)
        return torch.gather(scores, -1, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        table, parts, length = ctx.table, len(grad), grad.size(-1)
        padded = functional.pad(grad, (0, 1))  # at place `length`: what no place has picked gets nothing
        total = None
        for places in table.places[: table.passes[length - 1], :length]:
            part = padded.gather(-1, places.clamp(max=length).expand(parts, -1, -1))
            total = part if total is None else total.add_(part)
        assert total is not None
        if table.far[length - 1]:
            for distance in (0, ctx.distances - 1):
                total[..., distance] = grad.where(index == distance, 0).sum(-1)
        return total, None, None
