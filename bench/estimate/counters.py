"""Scoped modes of torch that count what a training step on the meta device would take, operation by operation.

`torch.utils._python_dispatch.TorchDispatchMode` shows every operation that reaches a kernel, backward included;
`torch.overrides.TorchFunctionMode` shows calls of the Python API before they are broken down into such operations. Both
act only inside their `with` block and only in this thread.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

MASK_ALIGNMENT = 8  # numbers
_COMPARISONS = {getattr(torch.ops.aten, name) for name in ("gt", "ge", "lt", "le")}


class LiveBytes(TorchDispatchMode):  # type: ignore[misc]
    """Count the bytes of storages that are made inside the block, from creation until they are freed.

    `now` and `peak` are in bytes. Views cost nothing, because they share a storage; neither do the tensors that are
    passed as `already_held`.

    Example:
        >>> with LiveBytes(model.parameters()) as live, torch.device("meta"):
        ...     model(**inputs).loss.backward()
        >>> live.peak  # bytes of activations and gradients that live at the same time, at the most
    """

    def __init__(self, already_held: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        # The storages are kept alive so that no new one gets the address of an old one.
        self._already_held = [tensor.untyped_storage() for tensor in already_held]
        self._known = {storage._cdata for storage in self._already_held}
        self._drawn: set[Any] = set()  # those of them that hold random numbers, or what comparing them gave

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        # A meta tensor has no value to answer with. Models ask `mask.all()` to skip masking, and the answer is no: in a
        # real batch the rows differ in length, so some positions are padding. Adapters draw whether to leave out a
        # layer (`torch.rand(1) > p` in PEFT's LoHa and LoKr), and the answer is to keep it.
        if func is torch.ops.aten._local_scalar_dense.default:
            return args[0].untyped_storage()._cdata in self._drawn
        result = func(*args, **(kwargs or {}))
        draws = func._overloadpacket is torch.ops.aten.rand
        compares = func._overloadpacket in _COMPARISONS and args[0].untyped_storage()._cdata in self._drawn
        for leaf in tree_iter(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if draws or compares:
                    self._drawn.add(storage._cdata)
                self._count(storage)
        return result

    def _count(self, storage: Any) -> None:
        address = storage._cdata
        if address in self._known:
            return
        self._known.add(address)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, address, size)

    def _free(self, address: int, size: int) -> None:
        self._known.discard(address)
        self._drawn.discard(address)
        self.now -= size


class MatmulOperations(TorchDispatchMode):  # type: ignore[misc]
    """Count the floating-point operations of matmuls and attention inside the block, by torch's own formulas.

    `total` counts a multiplication and its addition as two. `torch.utils.flop_counter.FlopCounterMode` would do the
    same, but it attributes operations to modules by hooks, and these keep activations alive that a checkpoint frees.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet is torch.ops.aten.addmm_:  # torch has no formula for it: sum [n, m] += first [n, k] @ second [k, m]
            rows, inner = args[1].shape
            self.total += 2 * rows * inner * args[2].shape[1]
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **kwargs, out_val=result)
        return result


class FusedKernels(TorchFunctionMode):  # type: ignore[misc]
    """Let dropout and attention inside the block keep what the fused kernels of CUDA keep for the backward pass.

    The meta device takes the CPU's way otherwise: dropout keeps its mask as floats instead of one byte per element, and
    attention keeps the softmax of length times length.

    While `backward` runs, PyTorch suspends function modes. A checkpointed block that is computed again there must
    therefore enter a mode of its own: `context_fn` of `torch.utils.checkpoint.checkpoint`.
    """

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.dropout:
            return _fused_dropout(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def _fused_dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: ARG001
    """Same arguments as `functional.dropout`; the mask has one byte per element."""
    return torch.native_dropout(x, p, True)[0] if training and p > 0 else x


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    """Same arguments as `functional.scaled_dot_product_attention`. Scale and dropout change no size."""
    result: Tensor = _FusedAttention.apply(query, key, value, _bias(attn_mask, query))
    return result


def _bias(mask: Tensor | None, query: Tensor) -> Tensor | None:
    """What PyTorch makes of a mask for its memory-efficient kernel, in each layer anew: numbers of the query's type in
    place of booleans, in rows that are filled up to a multiple of MASK_ALIGNMENT."""
    if mask is None:
        return None
    bias = mask if mask.dtype == query.dtype else query.new_empty(mask.shape)
    filled = bias.size(-1) + -bias.size(-1) % MASK_ALIGNMENT
    return bias if filled == bias.size(-1) else query.new_empty(*bias.shape[:-1], filled)


class _FusedAttention(torch.autograd.Function):  # type: ignore[misc]
    """query [..., n, d], key [..., m, d], value [..., m, v] -> [..., n, v], by shape alone.

    For the backward pass it keeps its inputs, its output and one float32 per query (the softmax's log-sum-exp), as
    FlashAttention does (Dao 2023, https://arxiv.org/abs/2307.08691, section 3.1), and the mask as numbers.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        log_sum_exp = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, log_sum_exp, bias)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ARG004
        query, key, value, *_ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None
