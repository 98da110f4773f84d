"""The state of every random generator that a training can draw from, as tensors and plain JSON."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.distributed import ProcessGroup

APART = 1_000_003  # between the seeds of the processes of a cell


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch on every device, before anything is made (defect Q5)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_apart(seed: int, process_group: ProcessGroup) -> None:
    """As `seed_everything`, but differently in each process: dropout masks are drawn for its own rows."""
    seed_everything(seed + APART * process_group.rank)


def random_states(process_group: ProcessGroup) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Copies of the generators' states of all processes: tensors named `rng.<rank>.<generator>`, and the rest as plain
    JSON in order of rank."""
    tensors: dict[str, Tensor] = {}
    plain = []
    for rank, (tensors_of_rank, plain_of_rank) in enumerate(process_group.all_gather_object(_state())):
        tensors |= {f"rng.{rank}.{name}": tensor for name, tensor in tensors_of_rank.items()}
        plain.append(plain_of_rank)
    return tensors, plain


def restore_random_state(
    tensors: Mapping[str, Tensor], plain: Sequence[Mapping[str, Any]], process_group: ProcessGroup
) -> None:
    """Give this process's generators the states that `random_states` returned."""
    prefix = f"rng.{process_group.rank}."
    states = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    _restore(states, plain[process_group.rank])


def _state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
    }
    if torch.cuda.is_available():  # of the GPU that this process works on: what else it sees, it draws nothing from
        tensors["cuda"] = torch.cuda.get_rng_state()
    plain = {"python": [version, gauss], "numpy": [int(position), int(has_gauss), float(cached)]}
    return tensors, plain


def _restore(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    version, gauss = plain["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), gauss))
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, *plain["numpy"]))
    torch.set_rng_state(tensors["torch"])
    on_gpu = tensors.get("cuda")
    if on_gpu is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(on_gpu)
