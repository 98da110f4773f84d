"""Memory and time of real shapes: the peak that was predicted, and how much of the device a step uses."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from bench.estimate.memory import predict_peak
from bench.estimate.parameters import predict_parameters
from bench.estimate.tracing import BatchShape, trace
from bench.evaluation.evaluate import release_memory
from bench.evaluation.loss import task_loss
from bench.inputs.collate import Batch
from bench.models.precision import matmul_dtype
from bench.selfcheck.check import Finding, Place, judged
from bench.selfcheck.specimens import SHAPES, Shape, Specimen, cell_of, random_batch, shapes_of, specimen
from bench.training.measure import PeakMemory, matrix_rate

MIB = 2**20
OFF = 0.2  # of the measured peak; what tests/estimate allows on the CPU
# A model of the CPU's third shape takes less than the heap of a process varies by.
PEAK_SHAPES = {**SHAPES, "cpu": (*SHAPES["cpu"][:2], Shape("mnli", "lora", BatchShape(8, 128)), SHAPES["cpu"][3])}
TIMED_STEPS = 5
# Of the device's own matrix product. More than all of it: the clock did not wait. Less: something is slow on a GPU; a
# small model on a CPU has no such bound.
AT_MOST, AT_LEAST = 1.1, {"cpu": 0.0, "cuda": 0.05}


def peaks_as_predicted(place: Place) -> Finding:
    """Measure the peak of a training's steps for each shape, and compare it with the plan's."""
    peaks = {}
    release_memory()  # for the processes below
    for shape in PEAK_SHAPES[place.device]:
        # In a process of its own: what earlier models left behind on the heap would count on the CPU.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            peaks[shape] = pool.submit(_peak, place, shape).result()
    wrong = [shape for shape, (predicted, measured) in peaks.items() if abs(predicted - measured) > OFF * measured]
    told = "; ".join(
        f"{shape}: {measured / MIB:,.0f} MiB, predicted {predicted / MIB:,.0f}"
        for shape, (predicted, measured) in peaks.items()
    )
    sizes = {str(shape): {"predicted": sizes[0], "measured": sizes[1]} for shape, sizes in peaks.items()}
    return judged(not wrong, told, bytes=sizes)


def _peak(place: Place, shape: Shape) -> tuple[int, int]:
    """The predicted and the measured peak: on a GPU of what is allocated, on the CPU of the growth."""
    cell = cell_of(place, shape.task, shape.method, batch_size=shape.batch.rows)
    found = specimen(place, cell)
    peak = PeakMemory(found.device)
    batch = random_batch(cell, shape.batch, found.device)

    def backward() -> None:
        task_loss(found.model, batch, cell.task.kind)[0].backward()
        found.core.discard_gradients()

    peak.measure(backward)
    predicted = predict_peak(cell, predict_parameters(cell), shape.batch, place.device)
    if place.device == "cpu":
        return predicted.growth, peak.read().growth or 0
    found.step(batch)
    return predicted.total, peak.read().peak


def speed(place: Place) -> Finding:
    """Time optimizer steps of each shape, and compare their operations per second with a plain matrix product's."""
    wrong, rates = [], {}
    for shape in shapes_of(place):
        cell = cell_of(place, shape.task, shape.method, batch_size=shape.batch.rows, max_steps=1000)
        found = specimen(place, cell)
        batch = random_batch(cell, shape.batch, found.device)
        seconds = _seconds_per_step(found, batch)
        predicted = predict_parameters(cell)
        operations = trace(cell, shape.batch, "cpu", predicted.sites, predicted.rank).operations
        whole = matrix_rate(found.device, matmul_dtype(place.device, cell.method.storage))
        fraction = operations / seconds / whole
        rates[str(shape)] = {"seconds": seconds, "flops_per_second": operations / seconds, "matrix_product": whole}
        if not AT_LEAST[place.device] < fraction <= AT_MOST:
            wrong.append(str(shape))
    told = "; ".join(
        f"{name}: {1000 * rate['seconds']:,.0f} ms, {rate['flops_per_second'] / 1e12:,.2f} of "
        f"{rate['matrix_product'] / 1e12:,.2f} TFLOP/s"
        for name, rate in rates.items()
    )
    return judged(not wrong, told, rates=rates)


def _seconds_per_step(found: Specimen, batch: Batch) -> float:
    """The mean of several steps, after one that is not timed."""
    found.step(batch)
    _wait(found.device)
    began = time.perf_counter()
    for _ in range(TIMED_STEPS):
        found.step(batch)
    _wait(found.device)
    return (time.perf_counter() - began) / TIMED_STEPS


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
