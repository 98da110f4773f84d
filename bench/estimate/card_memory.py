"""How many trainings fit in the memory of a GPU, by their predicted peaks and a margin.

Snakemake reads this module at every parse, so it imports neither torch nor pandas.
"""

from __future__ import annotations

MIB = 2**20
# Beside the predicted peak: CUDA's context and code, and what the allocator keeps in pieces. Not measured yet; a driver
# of today takes 400 to 600 MiB.
CONTEXT = 600 * MIB
PIECES = 1.1


def needed(peak: int) -> float:
    """Bytes of a GPU that a training of that predicted peak takes, with the margin."""
    return PIECES * peak + CONTEXT


def fits(peak: int, memory: int) -> bool:
    """Whether a training of that predicted peak runs on a GPU with so many bytes."""
    return needed(peak) <= memory


def trainings_that_fit(peak: int, memory: int) -> int:
    """How many trainings of that predicted peak run beside each other on a GPU with so many bytes."""
    return int(memory // needed(peak))
