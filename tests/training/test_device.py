"""The device of a cell: never the CPU in silence in place of a GPU, and no kernel whose sums change their order.

There are no GPUs here: NVML is a stand-in, and PyTorch sees none.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.gpus import NO_LIBRARY, Card, stand_in_machine
from helpers.small_cells import Lab, record_of

from bench.cli.app import main
from bench.device import has_kernels, needed_driver, usable_device
from bench.errors import EXIT_BAD_INPUT, BenchError
from bench.nvml import CPU_IN_PLACE_OF_GPUS, VARIABLE


@pytest.fixture(autouse=True)
def _no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("driver", "error", "says"),
    [
        ("535.104.05", 0, r"CUDA 13\.2 needs NVIDIA's driver 580 or newer, here is 535\.104\.05; "),
        ("580.65.06", 0, r"here is 580\.65\.06, but CUDA does not start \(\w+: .+\); "),
        ("", NO_LIBRARY, r"driver 580 or newer, and none is found here \(a container .* --nv"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, error: int, says: str
) -> None:
    stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a")], driver=driver, error=error)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setenv(VARIABLE, "0")
    with pytest.raises(BenchError, match=r"was given a GPU, .*" + says) as caught:
        usable_device()
    assert "resources.gpus=0" in str(caught.value)


def test_a_torch_without_cuda_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a"), Card("GPU-b")])
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(BenchError, match=r"given 2 GPUs, GPU-a \(NVIDIA H100 80GB HBM3\), GPU-b .*without CUDA"):
        usable_device()


@pytest.mark.parametrize(("cuda", "driver"), [("11.8", 450), ("12.6", 525), ("13.2", 580), ("14.0", 580), (None, None)])
def test_the_driver_that_a_torch_needs(monkeypatch: pytest.MonkeyPatch, cuda: str | None, driver: int | None) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert needed_driver() == driver


def test_the_cpu_where_no_gpu_is_visible_or_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a")])
    monkeypatch.setenv(CPU_IN_PLACE_OF_GPUS, "1")
    assert usable_device() == torch.device("cpu")
    monkeypatch.setenv(CPU_IN_PLACE_OF_GPUS, "0")
    monkeypatch.setenv(VARIABLE, "")
    assert usable_device() == torch.device("cpu")
    monkeypatch.delenv(VARIABLE)
    machine.cards.clear()
    machine.write()
    assert usable_device() == torch.device("cpu")


def test_such_a_cell_is_not_trained(lab: Lab, tmp_path: Path) -> None:
    """As in `CUDA_VISIBLE_DEVICES=0 SLURM_JOB_ID=4242 bench train ...` on a node without a working driver."""
    cell, variables = lab.prepare(lab.cell("lora")), {VARIABLE: "0", "SLURM_JOB_ID": "4242"}
    assert lab.train(cell, tmp_path / "out", before=partial(set_variables, variables)) == EXIT_BAD_INPUT
    assert "this job was given a GPU, 0, but PyTorch" in (tmp_path / "log.txt").read_text()
    assert not (tmp_path / "out").exists()
    assert not (lab.cache / "checkpoints").exists()


def test_a_stand_in_for_a_gpu_is_recorded_and_all_kernels_are_deterministic(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    cell, out = lab.prepare(lab.cell("lora")), tmp_path / "study" / "cell"
    before = partial(note_modes, tmp_path / "modes", {VARIABLE: "0", CPU_IN_PLACE_OF_GPUS: "1"})
    assert lab.train(cell, out, before=before) == 0
    assert record_of(out).environment["cpu_in_place_of_gpus"]
    modes = (tmp_path / "modes").read_text().split()
    assert set(modes) == {"error,:4096:8"}
    assert len(modes) > cell.recipe.epochs

    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(False)
    words = ["evaluate", str(out), "--cache", str(lab.cache), "--out", str(tmp_path / "evaluated")]
    monkeypatch.setenv(VARIABLE, "0")
    assert main(words) == EXIT_BAD_INPUT
    assert "this job was given a GPU, 0, but PyTorch" in capsys.readouterr().err
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")  # which NVIDIA's libraries would ask first
    assert main(words) == 0
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    assert torch.get_deterministic_debug_mode() == 2  # an error
    assert not torch.utils.deterministic.fill_uninitialized_memory


def set_variables(variables: dict[str, str]) -> None:
    os.environ.update(variables)


def note_modes(file: Path, variables: dict[str, str]) -> None:
    """Write to `file` in which mode each step and each batch of the evaluation is computed."""
    from bench.engine.step import Core
    from bench.evaluation import evaluate

    set_variables(variables)
    for owner, name in ((Core, "accumulate"), (Core, "step"), (evaluate, "_predict_batch")):
        original = getattr(owner, name)

        def noting(*args: object, _original: object = original, **options: object) -> object:
            mode = {0: "default", 1: "warn", 2: "error"}[torch.get_deterministic_debug_mode()]
            with file.open("a") as notes:
                print(f"{mode},{os.environ['CUBLAS_WORKSPACE_CONFIG']}", file=notes)
            return _original(*args, **options)  # type: ignore[operator]

        setattr(owner, name, noting)


@pytest.mark.parametrize(
    ("capability", "architectures", "expected"),
    [
        ((7, 0), "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120", False),  # V100
        ((6, 0), "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120", False),  # P100
        ((7, 5), "sm_75 sm_80", True),
        ((8, 9), "sm_75 sm_80", True),  # of the same major version, and newer
        ((8, 0), "sm_75 sm_86", False),
        ((10, 3), "sm_90 sm_100", True),
        ((11, 0), "sm_100 sm_120", False),
        ((11, 0), "sm_90 compute_90", True),  # compiled by the driver
        ((8, 0), "sm_90 compute_90", False),
        ((9, 0), "sm_80 sm_90a", True),
        ((9, 1), "sm_90a", False),
    ],
)
def test_the_gpus_that_a_torch_has_kernels_for(
    capability: tuple[int, int], architectures: str, *, expected: bool
) -> None:
    assert has_kernels(capability, architectures.split()) == expected


def test_a_gpu_without_kernels_is_told_before_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Card("GPU-old", "Tesla V100-SXM2-16GB", (7, 0), 2**34)
    machine = stand_in_machine(monkeypatch, tmp_path, [old])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90"])
    says = r"GPU-old \(Tesla V100-SXM2-16GB\) has compute capability 7\.0, .* needs 7\.5 \(Turing .* docs/slurm\.md"
    with pytest.raises(BenchError, match=says):
        usable_device()
    machine.cards.append(Card("GPU-new"))
    machine.write()
    assert usable_device() == torch.device("cuda")  # which is the newer one
    monkeypatch.setenv(VARIABLE, "GPU-old,GPU-new")
    with pytest.raises(BenchError, match=says):
        usable_device()
    monkeypatch.setenv(VARIABLE, "GPU-new")
    assert usable_device() == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_arch_list", list)  # nobody knows
    monkeypatch.setenv(VARIABLE, "GPU-old")
    assert usable_device() == torch.device("cuda")


def test_the_gpu_of_a_mac_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch offers it and there is nothing of NVIDIA."""
    stand_in_machine(monkeypatch, tmp_path, [], error=NO_LIBRARY)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert usable_device() == torch.device("cpu")
