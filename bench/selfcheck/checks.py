"""All checks, in the order in which they are run: each needs what those before it have shown."""

from __future__ import annotations

from bench.selfcheck.check import Check, Finding, Place


def device(place: Place) -> Finding:
    from bench.selfcheck.machine import device_works

    return device_works(place)


def storages(place: Place) -> Finding:
    from bench.selfcheck.storages import storages_load

    return storages_load(place)


def base_bytes(place: Place) -> Finding:
    from bench.selfcheck.storages import bytes_as_counted

    return bytes_as_counted(place)


def same_bits(place: Place) -> Finding:
    from bench.selfcheck.steps import same_bits

    return same_bits(place)


def float32(place: Place) -> Finding:
    from bench.selfcheck.steps import float32_is_float32

    return float32_is_float32(place)


def ranks(place: Place) -> Finding:
    from bench.selfcheck.ranks import ranks_of_peft

    return ranks_of_peft(place)


def moments(place: Place) -> Finding:
    from bench.selfcheck.moments import moments_of_bitsandbytes

    return moments_of_bitsandbytes(place)


def waits(place: Place) -> Finding:
    from bench.selfcheck.steps import no_waits

    return no_waits(place)


def peaks(place: Place) -> Finding:
    from bench.selfcheck.sizes import peaks_as_predicted

    return peaks_as_predicted(place)


def speed(place: Place) -> Finding:
    from bench.selfcheck.sizes import speed

    return speed(place)


def texts(place: Place) -> Finding:
    from bench.selfcheck.texts import texts_of_generate

    return texts_of_generate(place)


def interrupted(place: Place) -> Finding:
    from bench.selfcheck.cells import interrupted

    return interrupted(place)


def job(place: Place) -> Finding:
    from bench.selfcheck.cells import several_in_a_job

    return several_in_a_job(place)


def processes(place: Place) -> Finding:
    from bench.selfcheck.cells import in_two_processes

    return in_two_processes(place)


REPORT = "train nothing that counts before it is solved, and report it with the JSON file"
CHECKS = (
    Check(
        "device", "PyTorch uses the device", "docs/slurm.md says which GPUs and drivers it needs", device, needed=True
    ),
    Check("storages", "every storage loads and trains", "see the log for the library that failed; " + REPORT, storages),
    Check("bytes", "a base takes the bytes that the plan counts", "do not use the plan's bytes; " + REPORT, base_bytes),
    Check("bits", "a step gives the same bits twice", "no result here can be repeated; " + REPORT, same_bits),
    Check("float32", "float32 is float32", "unset variables that allow TF32 (NVIDIA_TF32_OVERRIDE)", float32),
    Check("ranks", "AdaLoRA keeps the ranks that PEFT keeps", REPORT, ranks),
    Check("moments", "adamw8bit is that of bitsandbytes", "leave recipe.optimizer at adamw; " + REPORT, moments),
    Check("waits", "a step never waits for the device", "results are right, but slower; report it", waits),
    Check(
        "peaks",
        "the peak is the one that was predicted",
        "leave room above the plan's peaks (bench plan --gpu-memory), and report it",
        peaks,
    ),
    Check("speed", "a step uses the device", "see with nvidia-smi what else runs here, and the card's clock", speed),
    Check("texts", "texts are those of plain generate", "do not use scores of summaries; " + REPORT, texts),
    Check(
        "interrupted", "interrupted equals uninterrupted", "cells that went on are other cells; " + REPORT, interrupted
    ),
    Check("job", "two cells of one job train", "set cells_per_job=1, and report it", job, alone=True),
    Check(
        "processes", "two processes train one cell", "leave recipe.processes at 1, and report it", processes, alone=True
    ),
)
