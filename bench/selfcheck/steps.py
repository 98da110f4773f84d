"""One optimizer step: the same bits twice, PEFT's ranks, float32 that is float32, no waiting for the GPU."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.evaluation.loss import task_loss
from bench.selfcheck.check import Finding, Place, judged
from bench.selfcheck.specimens import Shape, attached, cell_of, drop_nothing, random_batch, shapes_of, specimen

REPEATED_STEPS = 3
# Relative to the largest gradient. Float32 gave 3e-6 on this project's CPUs; TF32 and bfloat16 give 1e-3 and more.
FLOAT32_ERROR = 1e-4
# Functions of PyTorch that wait until the device has computed a value.
WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero", "aten::equal")


def same_bits(place: Place) -> Finding:
    """Train each shape twice for a few steps, with dropout, and compare every trained parameter."""
    differ, hashes = [], {}
    for shape in shapes_of(place):
        first, second = (_bits(place, shape) for _ in range(2))
        hashes[str(shape)] = first
        if first != second:
            differ.append(str(shape))
    return judged(
        not differ, f"other bits: {', '.join(differ)}" if differ else f"{len(hashes)} shapes, twice", sha256=hashes
    )


def _bits(place: Place, shape: Shape) -> str:
    found = specimen(place, cell_of(place, shape.task, shape.method))
    for seed in range(REPEATED_STEPS):
        found.step(random_batch(found.cell, shape.batch, found.device, seed))
    return hashlib.sha256(found.core.flat.data.cpu().numpy().tobytes()).hexdigest()[:16]


def float32_is_float32(place: Place) -> Finding:
    """Compare loss and gradient of a float32 model with those of float32 on the CPU; there, with float64."""
    shape = shapes_of(place)[0]
    cell, batch = cell_of(place, shape.task, "lora"), replace(shape.batch, rows=4)  # few: the CPU computes it too
    gradients, losses = [], []
    for device, dtype in ((place.device, torch.float32), ("cpu", _reference(place))):
        found = attached(place, cell, device)
        drop_nothing(found.model)
        found.model.to(dtype)
        loss, _ = task_loss(found.model, random_batch(cell, batch, found.device), cell.task.kind)
        trained = [parameter for parameter in found.model.parameters() if parameter.requires_grad]
        parts = torch.autograd.grad(loss, trained)
        gradients.append(torch.cat([part.detach().cpu().double().flatten() for part in parts]))
        losses.append(float(loss.detach()))
    error = float((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max())
    of_loss = abs(losses[0] - losses[1]) / abs(losses[1])
    return judged(
        max(error, of_loss) < FLOAT32_ERROR,
        f"gradient {error:.1e}, loss {of_loss:.1e} off",
        gradient_error=error,
        loss_error=of_loss,
    )


def _reference(place: Place) -> torch.dtype:
    return torch.float64 if place.device == "cpu" else torch.float32


class _Waits(TorchDispatchMode):  # type: ignore[misc]
    """Counts calls of functions that wait for the device, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().split(".")[0]
        if name in WAITING:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def _counted(place: Place) -> Iterator[list[str]]:
    """The waits for the device inside the block. On a GPU PyTorch itself tells them, with their place in the code."""
    waits: list[str] = []
    if place.device == "cpu":
        with _Waits() as mode:
            yield waits
        waits += mode.names
        return
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waits
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits += [f"{warning.filename}:{warning.lineno}" for warning in told if "synchroniz" in str(warning.message)]


def no_waits(place: Place) -> Finding:
    """Count how often an ordinary optimizer step waits for the device, and a forward and backward pass."""
    in_step: list[str] = []
    in_pass: dict[str, list[str]] = {}
    for shape in _first_of_each_task(shapes_of(place)):
        # a step before any pruning: masks are chosen on the host, which waits, once per interval
        found = specimen(place, cell_of(place, shape.task, shape.method, max_steps=1000, reference_steps=None))
        found.step(random_batch(found.cell, shape.batch, found.device))
        batch = random_batch(found.cell, shape.batch, found.device, seed=1)
        with _counted(place) as waits:
            loss, _ = task_loss(found.model, batch, found.cell.task.kind)
            found.core.accumulate(loss)
        in_pass[str(shape)] = waits
        with _counted(place) as waits:
            found.core.step()
        in_step += waits
    passes = ", ".join(f"{len(waits)} in a pass of {shape}" for shape, waits in in_pass.items())
    waits_in_pass = place.device == "cuda" and any(in_pass.values())  # on the CPU nothing waits: they are told alone
    return judged(
        not (in_step or waits_in_pass),
        f"{len(in_step)} in {len(in_pass)} optimizer steps, {passes}",
        step=in_step,
        passes=in_pass,
    )


def _first_of_each_task(shapes: Sequence[Shape]) -> list[Shape]:
    return list({shape.task: shape for shape in reversed(shapes)}.values())[::-1]
