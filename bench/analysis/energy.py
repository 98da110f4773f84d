"""Energy of records, for tables and checklist: what was measured, how, and of how many records it was not."""

from __future__ import annotations

from collections.abc import Collection

from bench.records.energy import Energy
from bench.records.schema import Record

NOT_MEASURED = "not measured"
JOULES_PER_WH = 3600


def watt_hours(record: Record) -> float | None:
    """Of the training, the evaluation and the saving of one record; None where it was not measured."""
    energy = record.training.energy if record.training else None
    return None if energy is None else energy.total / JOULES_PER_WH


def energy_notes(energies: Collection[Energy | None], noun: str = "records") -> list[str]:
    """How many of these energies were measured, by which counters, and whether others used what was counted."""
    measured = [energy for energy in energies if energy is not None]
    if not measured:
        return [f"Energy: {NOT_MEASURED}."] if energies else []
    notes = ["Energy: of training, evaluation and saving, over all attempts; without the start-up and lost steps."]
    if len(measured) < len(energies):
        notes.append(f"Energy of {len(energies) - len(measured)} of {len(energies)} {noun}: {NOT_MEASURED}.")
    by_gpu = sum("nvml" in energy.sources for energy in measured)
    by_processor = sum("rapl" in energy.sources for energy in measured)
    if by_gpu:
        notes.append(f"Energy of {by_gpu} {noun}: the GPUs' alone, by NVML's counter; not that of the host.")
    if by_processor:
        notes.append(
            f"Energy of {by_processor} {noun}: that of all processor packages of the machine, by RAPL, whatever else "
            "ran there; without memory and disks."
        )
    shared = sum(energy.shared for energy in measured)
    if shared:
        notes.append(f"Shared: during {shared} of {len(measured)} measured {noun} others could use what was counted.")
    return notes
