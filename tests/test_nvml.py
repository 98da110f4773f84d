"""Which GPUs a process sees, by whatever name. There are none here: NVML's Python module is a stand-in."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pynvml
import pytest
from helpers.gpus import NO_DRIVER, NO_LIBRARY, OTHER_LIBRARY, Card, Machine, stand_in_machine, stand_in_nvml

from bench import nvml
from bench.errors import BenchError
from bench.nvml import (
    CPU_IN_PLACE_OF_GPUS,
    VARIABLE,
    Gpu,
    cpu_in_place_of_gpus,
    driver_version,
    processes_on,
    visible_gpus,
)

SPLIT = Card("GPU-b", instances=("MIG-1", "MIG-2"))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Three cards, the second of them split in two."""
    return stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a"), SPLIT, Card("GPU-c", "NVIDIA T4", (7, 5), 2**34)])


def seen() -> list[str]:
    return [gpu.uuid for gpu in visible_gpus()]


def test_the_stand_in_has_the_functions_of_the_real_module() -> None:
    stand_in = stand_in_nvml()
    functions = [name for name, value in vars(stand_in).items() if name.startswith("nvml") and callable(value)]
    assert functions
    for name in functions:
        real, ours = (list(inspect.signature(getattr(module, name)).parameters) for module in (pynvml, stand_in))
        # A decorator of the real module hides the parameters of some.
        assert real in (ours, ["args", "kwargs"]), name
    for name, value in vars(stand_in).items():
        if name.startswith("NVML_"):
            assert getattr(pynvml, name) == value
        if name.startswith("NVMLError"):
            assert issubclass(getattr(pynvml, name), pynvml.NVMLError)


@pytest.mark.usefixtures("machine")
def test_a_card_and_the_instances_of_another() -> None:
    assert driver_version() == "580.65.06"
    assert seen() == ["GPU-a", "MIG-1", "MIG-2", "GPU-c"]
    found = {gpu.uuid: gpu for gpu in visible_gpus()}
    assert found["GPU-c"] == Gpu("GPU-c", "NVIDIA T4", 2**34, (7, 5), "GPU-c")
    assert (found["MIG-2"].card, found["MIG-2"].memory, found["MIG-2"].capability) == ("GPU-b", 10 * 2**30, (9, 0))


def test_a_gpu_that_shares_the_memory_of_its_host(machine: Machine) -> None:
    """The driver has no figure for the memory of such a GPU, and it can be used all the same."""
    machine.cards[:] = [Card("GPU-a", "NVIDIA GB10", (12, 1), memory=None)]
    machine.write()
    assert visible_gpus() == [Gpu("GPU-a", "NVIDIA GB10", None, (12, 1), "GPU-a")]


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("2, 0", ["GPU-c", "GPU-a"]),
        ("GPU-c,0,GPU-c", ["GPU-c", "GPU-a"]),
        ("1", ["MIG-1", "MIG-2"]),  # the card itself cannot be used
        ("GPU-b", ["MIG-1", "MIG-2"]),
        ("MIG-2", ["MIG-2"]),
        ("0,-1,2", ["GPU-a"]),  # as CUDA reads it
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_the_variable_names_them(monkeypatch: pytest.MonkeyPatch, variable: str, expected: list[str]) -> None:
    monkeypatch.setenv(VARIABLE, variable)
    assert seen() == expected


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("variable", ["3", "GPU-d", "0,MIG-3"])
def test_one_that_is_not_here_is_told(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(VARIABLE, variable)
    name = variable.removeprefix("0,")
    with pytest.raises(BenchError, match=f"names the GPU {name}, which is not here .3 here: GPU-a, MIG-1"):
        visible_gpus()


def test_numbers_count_the_cards_that_the_job_may_use(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.cards[0].forbidden = True  # as Slurm's cgroup does; CUDA counts likewise
    machine.write()
    assert seen() == ["MIG-1", "MIG-2", "GPU-c"]
    monkeypatch.setenv(VARIABLE, "1")
    assert seen() == ["GPU-c"]


def test_processes(machine: Machine) -> None:
    machine.cards[0].processes = (12, 7)
    machine.write()
    assert processes_on("GPU-a") == [7, 12]
    assert processes_on("GPU-c") == processes_on("GPU-unknown") == []


@pytest.mark.parametrize("error", [NO_LIBRARY, NO_DRIVER])
def test_where_there_is_no_driver_there_is_no_gpu(machine: Machine, error: int) -> None:
    machine.error = error
    machine.write()
    assert visible_gpus() == []
    assert driver_version() is None
    assert processes_on("GPU-a") == []


def test_a_driver_that_fails_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an update, until the node is started again, its libraries are not of the version of its kernel module."""
    machine.error = OTHER_LIBRARY
    machine.write()
    with pytest.raises(BenchError, match=f"driver does not answer: .*set {VARIABLE}="):
        visible_gpus()
    assert driver_version() is None  # a record is written all the same
    assert processes_on("GPU-a") == []
    monkeypatch.setenv(VARIABLE, "")
    assert visible_gpus() == []


def test_a_container_without_the_libraries(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the job was given counts, though nobody can be asked for its UUID, CUDA included."""
    machine.error = NO_LIBRARY
    machine.write()
    (tmp_path / "torch.py").write_text("raise OSError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_GPUS", "3")
    assert visible_gpus() == [Gpu("3")]
    monkeypatch.setenv(VARIABLE, "0,1")
    assert visible_gpus() == [Gpu("0"), Gpu("1")]
    monkeypatch.setenv(VARIABLE, "")
    assert visible_gpus() == []


def test_what_slurm_gave_and_the_driver_does_not_show(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.cards.clear()
    machine.write()
    assert visible_gpus() == []
    monkeypatch.setenv("SLURM_JOB_GPUS", "2")
    assert visible_gpus() == [Gpu("2")]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("NVIDIA_VISIBLE_DEVICES", "GPU-a,GPU-b", ["GPU-a", "GPU-b"]),  # as Kubernetes names them
        ("NVIDIA_VISIBLE_DEVICES", "1", ["1"]),
        ("NVIDIA_VISIBLE_DEVICES", "all", []),  # as images say without being given one
        ("NVIDIA_VISIBLE_DEVICES", "none", []),
        ("NVIDIA_VISIBLE_DEVICES", "void", []),
        ("NVIDIA_VISIBLE_DEVICES", "", []),
        ("ROCR_VISIBLE_DEVICES", "0", ["0"]),
        ("HIP_VISIBLE_DEVICES", "0,-1", ["0"]),
        ("GPU_DEVICE_ORDINAL", "3", ["3"]),
        ("SLURM_STEP_GPUS", "2", ["2"]),
    ],
)
def test_a_gpu_that_was_given_and_is_not_found_is_no_cpu(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: list[str]
) -> None:
    """Whoever gave it says so in a variable of its own: the job must not take the CPU in silence."""
    machine.error = NO_LIBRARY
    machine.write()
    monkeypatch.setenv(variable, value)
    assert seen() == expected
    monkeypatch.setenv(VARIABLE, "")  # the CPU is asked for
    assert seen() == []
    monkeypatch.delenv(VARIABLE)
    machine.error = 0
    machine.write()
    assert seen() == ["GPU-a", "MIG-1", "MIG-2", "GPU-c"]  # what is found counts


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("value", "stand_ins"), [("1", True), ("yes", True), ("0", False), ("False", False), ("", False)]
)
def test_what_says_that_gpus_are_stand_ins(monkeypatch: pytest.MonkeyPatch, value: str, *, stand_ins: bool) -> None:
    monkeypatch.setenv(CPU_IN_PLACE_OF_GPUS, value)
    assert cpu_in_place_of_gpus() == stand_ins


@pytest.mark.usefixtures("machine")
def test_stand_ins_are_what_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CPU_IN_PLACE_OF_GPUS, "1")
    assert visible_gpus() == []
    monkeypatch.setenv(VARIABLE, "7")
    assert visible_gpus() == [Gpu("7")]


def test_a_container_with_cuda_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CUDA is asked in a process of its own; a stand-in for PyTorch answers there."""
    machine.error = NO_LIBRARY
    machine.write()
    (tmp_path / "torch.py").write_text(
        "from types import SimpleNamespace as N\n"
        "gpus = [N(uuid='12-ab', name='NVIDIA A30', total_memory=24, major=8, minor=0),\n"
        "        N(uuid='34-cd', name='NVIDIA A30 MIG 1g.6gb', total_memory=6, major=8, minor=0)]\n"
        "cuda = N(device_count=lambda: 2, get_device_properties=lambda number: gpus[number])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(nvml, "CONTROL_DEVICE", tmp_path / "nvidiactl")
    assert visible_gpus() == []  # no driver at all: nobody is asked
    (tmp_path / "nvidiactl").touch()
    assert visible_gpus() == [
        Gpu("GPU-12-ab", "NVIDIA A30", 24, (8, 0)),
        Gpu("MIG-34-cd", "NVIDIA A30 MIG 1g.6gb", 6, (8, 0)),
    ]


def test_it_is_found_without_torch() -> None:
    import subprocess

    code = "import sys; from bench.nvml import visible_gpus; visible_gpus(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
