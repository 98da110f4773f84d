"""Adam's moments in 8 bits: block-wise dynamic quantization (Dettmers et al. 2022) of the flat parameters' two moments.

The format is that of bitsandbytes' own `AdamW8bit`: a byte per element, which names one of 256 values of a map, and a
float32 per block of 256 elements, by which these values are multiplied. Blocks end where a tensor ends, and tensors of
fewer than 4096 elements keep 32 bits. Here each row of A and of B^T has blocks of its own, so that a rank takes its
moments along, bit for bit, when others leave or enter; all rows are packed, however many a matrix has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from bench.engine.carry import carry_rows, carry_triplets
from bench.engine.flat import FlatParameters
from bench.engine.layout import Layout
from bench.errors import BenchError

BLOCK = 256  # elements that share one constant
SMALLEST = 4096  # elements: tensors of fewer keep 32 bits, as by `min_8bit_size` of bitsandbytes
CHUNK = 2**20  # elements that are unpacked at a time
MAPS = 2 * 256 * 4  # bytes of the two maps


def blocks_of(length: int) -> int:
    """Blocks of a row or a tensor of so many elements."""
    return -(-length // BLOCK)


def bytes_of_tensor(elements: int) -> int:
    """Bytes of both moments of a tensor outside of the adapter's rows."""
    return 2 * elements + 8 * blocks_of(elements) if elements >= SMALLEST else 8 * elements


def bytes_of_rank(in_features: int, out_features: int, *, svd: bool) -> int:
    """Bytes of both moments of one rank: a row of A, a row of B^T and, with `svd`, a singular value in 32 bits."""
    rows = 2 * (in_features + out_features) + 8 * (blocks_of(in_features) + blocks_of(out_features))
    return rows + (8 if svd else 0)


def check_available(device: torch.device) -> None:
    """Raises BenchError if bitsandbytes has no 8-bit optimizer here: package, native library, kernel of the device."""
    wanted, instead = "optimizer adamw8bit", "or take optimizer: adamw"
    try:
        from bitsandbytes import cextension
    except ImportError as error:
        raise BenchError(
            f"{wanted} needs bitsandbytes, which can't be imported ({error}): install it, {instead}"
        ) from error
    if isinstance(cextension.lib, cextension.ErrorHandlerMockBNBNativeLibrary):
        raise BenchError(
            f"{wanted} needs bitsandbytes' native library, which did not load (`python -m bitsandbytes` says why): "
            f"install a bitsandbytes for this machine, {instead}"
        )
    kernel = "bitsandbytes::optimizer_update_8bit_blockwise"
    if not torch._C._dispatch_has_kernel_for_dispatch_key(kernel, device.type.upper()):
        raise BenchError(
            f"{wanted} needs an 8-bit optimizer for {device.type}, which this bitsandbytes has not: "
            f"train on CUDA or on the CPU, {instead}"
        )


@dataclass(frozen=True)
class Part:
    """Rows of one length that stand one after another in the flat buffer and whose moments are stored alike.

    start: their first element. packed: in 8 bits, else in 32. decayed: under weight decay. ranks [rows]: the triplet of
    each row, or -1 alone where they belong to no rank. first, first_block: where their elements and constants stand
    among all that are stored in that way.
    """

    start: int
    rows: int
    length: int
    packed: bool
    decayed: bool
    ranks: Tensor
    first: int
    first_block: int

    @property
    def elements(self) -> int:
        return self.rows * self.length

    @property
    def padding(self) -> int:
        """Elements that a row lacks to whole blocks; the last block of all may end early."""
        return -self.length % BLOCK if self.rows > 1 else 0

    def of(self, flat: Tensor) -> Tensor:
        """Its view [rows, length] of a flat buffer."""
        return flat[self.start : self.start + self.elements].view(self.rows, self.length)

    def rows_in(self, hold: Sequence[slice]) -> Iterator[slice]:
        """Its rows in the parts `hold` of the flat buffer, which begin and end with rows."""
        for part in hold:
            begin = max(0, part.start - self.start) // self.length
            end = min(self.elements, part.stop - self.start) // self.length
            if begin < end:
                yield slice(begin, end)


class PackedMoments:
    """Both moments of `flat`: `codes` [2, packed elements], `constants` [2, blocks], and `plain` [2, other elements].

    `parts` are all elements of the flat buffer, in its order. Raises BenchError if bitsandbytes can't pack them here.
    """

    def __init__(self, flat: FlatParameters) -> None:
        check_available(flat.device)
        from bitsandbytes.functional import create_dynamic_map

        self._flat = flat
        # The first moment has both signs; the second one has none, and a map of twice the precision.
        maps = [create_dynamic_map(signed=signed) for signed in (True, False)]  # type: ignore[no-untyped-call]
        self._maps = [values.to(flat.device) for values in maps]
        self.reshape()

    def reshape(self) -> None:
        """Make room for the present layout; all moments are zero."""
        self.parts = list(_parts(self._flat))
        packed = [part for part in self.parts if part.packed]
        elements, device = sum(part.elements for part in packed), self._flat.device
        self.codes = torch.zeros(2, elements, dtype=torch.uint8, device=device)
        self.constants = torch.zeros(2, sum(part.rows * blocks_of(part.length) for part in packed), device=device)
        self.plain = torch.zeros(2, self._flat.elements - elements, device=device)

    def carry(self, old: Layout) -> None:
        """Follow a change of the layout: what stays keeps its bits, the moments of new ranks are zero."""
        new, codes, constants, plain = self._flat.layout, self.codes, self.constants, self.plain
        self.reshape()
        for which in range(2):
            self.codes[which] = carry_rows(codes[which], old, new)
            self.constants[which] = carry_rows(constants[which], old, new, blocks_of)
            singular = old.triplets if old.svd else 0
            if singular:
                self.plain[which, : new.triplets] = carry_triplets(plain[which, :singular], old, new)
            self.plain[which, new.triplets if new.svd else 0 :] = plain[which, singular:]

    def forget(self, triplets: Sequence[int]) -> None:
        """The moments of the ranks at these places are zero."""
        gone = torch.zeros(self._flat.layout.triplets + 1, dtype=torch.bool, device=self._flat.device)
        gone[list(triplets)] = True
        for part in self.parts:
            rows = gone[part.ranks].unsqueeze(1)
            for which in range(2):
                for stored in self._stored(part, which):
                    stored.masked_fill_(rows, 0)

    def read(self, part: Part, which: int) -> Tensor:
        """The first (0) or the second (1) moment of `part`, [rows, length] in float32, to be changed at will."""
        if not part.packed:
            return self._stored(part, which)[0].clone()
        codes, constants = self._stored(part, which)
        padded = nn.functional.pad(codes, (0, part.padding)) if part.padding else codes
        unpacked = torch.ops.bitsandbytes.dequantize_blockwise(
            padded, constants.flatten(), self._maps[which], BLOCK, torch.float32
        )
        return unpacked[:, : part.length]

    def write(self, part: Part, which: int, values: Tensor, keep: Tensor) -> None:
        """Store `values` [rows, length] as a moment of `part`, but for the rows in `keep` ([] or [rows, 1]).

        These keep their bits: to pack anew what was unpacked would not give the same.
        """
        new = [values]
        if part.packed:
            padded = nn.functional.pad(values, (0, part.padding)) if part.padding else values
            codes, constants = torch.ops.bitsandbytes.quantize_blockwise(padded, self._maps[which], BLOCK)
            new = [codes[:, : part.length], constants.view(part.rows, -1)]
        for stored, value in zip(self._stored(part, which), new, strict=True):
            stored.copy_(torch.where(keep, stored, value))

    def unpacked(self, which: int) -> Tensor:
        """The first (0) or the second (1) moment [elements] in the order of the flat parameters."""
        values = torch.empty_like(self._flat.data)
        for part in self.parts:
            part.of(values).copy_(self.read(part, which))
        return values

    def bytes(self) -> int:
        """Bytes of both moments, with constants and maps."""
        return MAPS + int(sum(t.numel() * t.element_size() for t in (self.codes, self.constants, self.plain)))

    def _stored(self, part: Part, which: int) -> list[Tensor]:
        """Views of what is stored of `part`: codes [rows, length] and constants [rows, blocks], or numbers alone."""
        elements = slice(part.first, part.first + part.elements)
        if not part.packed:
            return [self.plain[which, elements].view(part.rows, part.length)]
        constants = slice(part.first_block, part.first_block + part.rows * blocks_of(part.length))
        return [
            self.codes[which, elements].view(part.rows, part.length),
            self.constants[which, constants].view(part.rows, -1),
        ]


def _parts(flat: FlatParameters) -> Iterator[Part]:
    """All elements of `flat` in its order, packed ones in parts of CHUNK elements at the most, or of one row."""
    start = packed = blocks = plain = 0
    for rows, length, is_packed, ranks in _pieces(flat):
        first = packed if is_packed else plain
        places = torch.tensor(ranks, device=flat.device, dtype=torch.long)
        yield Part(start, rows, length, is_packed, start < flat.decayed, places, first, blocks)
        start += rows * length
        if is_packed:
            packed, blocks = packed + rows * length, blocks + rows * blocks_of(length)
        else:
            plain += rows * length


def _pieces(flat: FlatParameters) -> Iterator[tuple[int, int, bool, list[int]]]:
    """Rows, length, whether packed, and triplets of the rows (-1 alone: none) of each part."""
    layout = flat.layout
    for block in layout.blocks:
        ranks = [layout.first_triplets[factor.site] + rank for factor in block.factors for rank in range(factor.rows)]
        most = max(1, CHUNK // block.length)
        for begin in range(0, block.rows, most):
            some = ranks[begin : begin + most]
            yield len(some), block.length, True, some
    if layout.svd and layout.triplets:
        yield layout.triplets, 1, False, list(range(layout.triplets))
    for (_, small), group in groupby(flat.head, key=lambda p: (p.ndim > 1, p.numel() < SMALLEST)):
        sizes = [parameter.numel() for parameter in group]
        for size in [sum(sizes)] if small else sizes:
            for begin in range(0, size, CHUNK):  # CHUNK is a multiple of BLOCK
                yield 1, min(CHUNK, size - begin), not small, [-1]
