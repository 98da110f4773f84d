"""Energy in records, from counters that stand in for those of processors and GPUs."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.gpus import NO_DRIVER, Card, stand_in_machine
from helpers.powercap import Powercap
from helpers.small_cells import Lab, Moment, record_of

from bench.config.cell import Cell
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.records.energy import Energy
from bench.records.schema import result_of
from bench.training import energy
from bench.training.energy import Cards, EnergyAccount, counter_of

STEP, EVALUATION = 500_000, 2_000_000  # microjoules that a step and an evaluation take, of either package
GPU = torch.device("cuda")


def counted(folder: Path) -> None:
    """Each step and each evaluation of this process takes energy of both packages in the folder of their counters."""
    import bench.training.evaluation
    from bench.training import stopwatch
    from bench.training.curve import Curve

    machine = Powercap(folder)
    energy.POWERCAP, stopwatch.TICK = folder, 0.0

    def taking(amount: int, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            machine.consume(amount, package=0)
            machine.consume(amount, package=1)
            return function(*args, **kwargs)

        return call

    Curve.add = taking(STEP, Curve.add)  # type: ignore[method-assign]
    bench.training.evaluation.evaluate = taking(EVALUATION, bench.training.evaluation.evaluate)


def uncounted(folder: Path) -> None:
    """As a machine that has the counters and keeps them from this process."""
    energy.POWERCAP = folder


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    return Powercap.of(tmp_path / "powercap").folder


@pytest.fixture
def cell(lab: Lab) -> Cell:
    return lab.prepare(lab.cell("lora"))


def energy_of(out: Path) -> Energy | None:
    training = record_of(out).training
    assert training is not None
    return training.energy


def test_twelve_steps_and_an_evaluation_in_which_the_counters_begin_again(
    lab: Lab, cell: Cell, tmp_path: Path, powercap: Path
) -> None:
    out = tmp_path / "out"
    assert lab.train(cell, out, every=None, before=partial(counted, powercap)) == 0
    found = energy_of(out)
    assert found is not None
    assert (found.training, found.evaluation) == pytest.approx((2 * 12 * 0.5, 2 * 2.0))
    assert found.saving == 0
    assert found.total == pytest.approx(16.0)
    assert found.sources == ("rapl",)
    assert found.shared == ((os.cpu_count() or 1) > 1)  # the cell has one thread
    assert "energy" not in result_of(record_of(out))["training"]


def test_lost_steps_are_not_counted_and_those_before_an_interruption_are(
    lab: Lab, cell: Cell, tmp_path: Path, powercap: Path
) -> None:
    out, before = tmp_path / "out", partial(counted, powercap)
    assert lab.train(cell, out, Moment("step", 7, signal.SIGKILL), every=4, before=before) == -signal.SIGKILL
    assert lab.train(cell, out, every=4, before=before) == 0
    assert record_of(out).training.resumed_at == (4,)
    found = energy_of(out)
    assert found is not None
    assert (found.training, found.evaluation) == pytest.approx((2 * 12 * 0.5, 2 * 2.0))


def test_what_one_attempt_could_not_read_is_not_known(lab: Lab, cell: Cell, tmp_path: Path, powercap: Path) -> None:
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    (powercap / "intel-rapl:1" / "energy_uj").mkdir()  # root may read every file, but no folder
    out = tmp_path / "out"
    assert lab.train(cell, out, Moment("step", 6), every=None, before=partial(uncounted, powercap)) != 0
    (powercap / "intel-rapl:1" / "energy_uj").rmdir()
    (powercap / "intel-rapl:1" / "energy_uj").write_text("5")
    assert lab.train(cell, out, every=None, before=partial(counted, powercap)) == 0
    assert record_of(out).training.resumed_at == (6,)
    assert energy_of(out) is None


@pytest.mark.parametrize("present", [True, False])
def test_without_a_readable_counter_there_is_no_counter(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, present: bool
) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "none")
    if present:  # as where the kernel hides the value
        Powercap.of(tmp_path / "none")
        (tmp_path / "none" / "intel-rapl:0" / "energy_uj").write_text("")
    assert counter_of(cell, torch.device("cpu"), SINGLE_PROCESS) is None
    assert EnergyAccount(None).measured() is None


def test_a_gpu_counts_by_itself(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a", energy=9), Card("GPU-b", energy=5000)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b")
    account = EnergyAccount(counter_of(cell, GPU, SINGLE_PROCESS))
    machine.cards[1].energy = 7500
    machine.write()
    account.charge(None)
    machine.cards[1].energy = 9500
    machine.write()
    account.charge("training")
    assert account.measured() == Energy(training=2.0, sources=("nvml",), shared=False)


@pytest.mark.parametrize(
    ("card", "shared"),
    [
        (Card("GPU-a", energy=1), False),
        (Card("GPU-a", energy=1, processes=[os.getpid(), 4242]), True),
        (Card("GPU-a", energy=1, instances=("MIG-1", "MIG-2")), True),  # the counter is the whole card's
    ],
)
def test_others_on_the_card_are_told(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: Card, *, shared: bool
) -> None:
    stand_in_machine(monkeypatch, tmp_path, [card])
    counter = counter_of(cell, GPU, SINGLE_PROCESS)
    assert isinstance(counter, Cards)
    assert (counter.cards, counter.shared) == (["GPU-a"], shared)
    monkeypatch.setenv("BENCH_CELLS_ON_GPU", "2")
    again = counter_of(cell, GPU, SINGLE_PROCESS)
    assert again is not None
    assert again.shared


@pytest.mark.parametrize(("energy_shown", "error"), [(None, 0), (1, NO_DRIVER)])
def test_a_gpu_without_a_counter_is_not_measured(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, energy_shown: int | None, error: int
) -> None:
    stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a", energy=energy_shown)], error=error)
    assert counter_of(cell, GPU, SINGLE_PROCESS) is None


class Two(ProcessGroup):
    """A process of two; the other one computes on GPU-b."""

    def all_gather_object(self, value: Any) -> list[Any]:
        return [value, None if value is None else ("GPU-b", False)]


def test_the_main_process_counts_the_cards_of_all(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a", energy=1000), Card("GPU-b", energy=500)])
    counter = counter_of(cell, GPU, Two(0, 2))
    assert counter is not None
    assert counter.read() == 1.5
    assert counter_of(cell, GPU, Two(1, 2)) is None


def test_attempts_add_up_and_one_that_was_not_measured_hides_the_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a", energy=1000)])
    account = EnergyAccount(Cards(["GPU-a"], shared=False))
    earlier = Energy(training=4.0, evaluation=1.0, sources=("rapl",), shared=True)
    account.load(earlier.model_dump(mode="json"))
    machine.cards[0].energy = 3000
    machine.write()
    account.charge("training")
    expected = Energy(training=6.0, evaluation=1.0, sources=("rapl", "nvml"), shared=True)
    assert account.measured() == expected
    assert account.state() == expected.model_dump(mode="json")
    account.reset()
    assert account.measured() == Energy(sources=("nvml",), shared=False)
    account.load(None)
    assert account.measured() is None


def test_a_counter_that_falls_back_was_set_to_zero_and_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a", energy=1000)])
    account = EnergyAccount(Cards(["GPU-a"], shared=False))
    machine.cards[0].energy = 10
    machine.write()
    account.charge("training")
    assert account.measured() is None
