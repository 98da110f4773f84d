"""The optimizer with moments of 8 bits beside that of bitsandbytes, on the same gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.engine.step import Core
from bench.selfcheck.check import Finding, Place, judged
from bench.selfcheck.specimens import cell_of, shapes_of, specimen

STEPS = 10
RATE, DECAY = 1e-3, 0.01
# Of the way that the parameters went. On the CPU they are the same bits. On a GPU the optimizer of bitsandbytes divides
# faster than exactly before it rounds a moment, so a few moments take the next of their 256 values.
FAR_APART = 0.01


def moments_of_bitsandbytes(place: Place) -> Finding:
    """Make the same steps by both, and by ours twice, and compare all rows of the adapters."""
    ours, theirs = _ours(place), _theirs(place)
    start, end = ours
    apart = float((end - theirs).norm() / (theirs - start).norm())
    repeated = torch.equal(end, _ours(place)[1])
    told = f"{apart:.1e} of the way apart after {STEPS} steps, {'the same' if repeated else 'other'} bits again"
    return judged(repeated and apart < FAR_APART, told, apart=apart, repeated=repeated)


def _core(place: Place) -> Core:
    shape = shapes_of(place)[0]
    recipe = {"optimizer": "adamw8bit", "weight_decay": DECAY}
    return specimen(place, cell_of(place, shape.task, "lora", **recipe)).core


def _ours(place: Place) -> tuple[Tensor, Tensor]:
    """All rows of the adapters [elements] before and after the steps."""
    core = _core(place)
    flat, part = core.flat, slice(core.flat.layout.row_elements)
    start, sound = flat.data[part].clone(), torch.zeros((), device=flat.device)
    for number in range(STEPS):
        flat.zero_gradients()
        flat.grad[part] = _gradient(flat.grad[part], number)
        core.optimizer.step(RATE, sound)
    return start, flat.data[part].clone()


def _theirs(place: Place) -> Tensor:
    """The same rows after the same steps by bitsandbytes, for which each row is a tensor."""
    from bitsandbytes.optim import AdamW8bit  # type: ignore[attr-defined]

    core = _core(place)
    flat, options = core.flat, core.options
    rows = [nn.Parameter(row.clone()) for block in flat.rows for row in block]
    same = {"betas": options.betas, "eps": options.epsilon, "weight_decay": DECAY}
    optimizer = AdamW8bit(rows, lr=RATE, min_8bit_size=1, **same)  # type: ignore[no-untyped-call]
    for number in range(STEPS):
        gradient = _gradient(flat.grad[: flat.layout.row_elements], number)
        for row, part in zip(rows, gradient.split([len(row) for row in rows]), strict=True):
            row.grad = part.clone()
        optimizer.step()
    return torch.cat([row.detach() for row in rows])


def _gradient(like: Tensor, number: int) -> Tensor:
    """Of step `number`, in sizes that differ by powers of ten, as those of a training do."""
    generator = torch.Generator().manual_seed(number)
    sizes, signed = (torch.randn(like.shape, generator=generator) for _ in range(2))
    return (signed * torch.exp(2 * sizes)).to(like.device)
