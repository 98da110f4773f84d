"""What a record says of the device that it was made on. There are no GPUs here: NVML is a stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.gpus import Card, stand_in_machine

from bench.nvml import CPU_IN_PLACE_OF_GPUS, VARIABLE
from bench.records.environment import environment


@pytest.fixture(autouse=True)
def _two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a"), Card("GPU-b", "NVIDIA A100")], driver="590.12")
    environment.cache_clear()
    yield
    environment.cache_clear()


def test_two_gpus_have_one_driver() -> None:
    found = environment("cuda:1")
    assert (found["driver"], found["device_name"], found["gpu_uuid"]) == ("590.12", "NVIDIA A100", "GPU-b")
    assert not found["cpu_in_place_of_gpus"]


def test_the_cpu_has_none() -> None:
    found = environment("cpu")
    assert (found["driver"], found["gpu_uuid"], found["cpu_in_place_of_gpus"]) == (None, None, False)


@pytest.mark.parametrize(("visible", "instead"), [("0", True), ("", False)])
def test_a_cpu_in_place_of_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch, visible: str, instead: bool) -> None:
    monkeypatch.setenv(CPU_IN_PLACE_OF_GPUS, "1")
    monkeypatch.setenv(VARIABLE, visible)
    assert environment("cpu")["cpu_in_place_of_gpus"] is instead
