"""Cells of one job are forked from a server that has not touched CUDA. A stand-in takes the place of its driver."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """\
import sys
from pathlib import Path
from bench.training.group import Group, Job

def told():
    import torch
    at_start = [name for name in ("peft", "bitsandbytes") if name in sys.modules]
    print("bad fork" if torch.cuda._is_in_bad_fork() else "whole", *at_start)

if __name__ == "__main__":
    assert list(Group().run([Job("told", told, Path(sys.argv[1]))])) == [("told", 0)]
"""


def told(folder: Path, **variables: str) -> list[str]:
    """What a cell of a job says: whether CUDA can be used in it, and what was imported before it."""
    script, log = folder / "job.py", folder / "log"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    environment = {name: value for name, value in environment.items() if value != "unset"}
    subprocess.run([sys.executable, str(script), str(log)], env=environment, check=True, timeout=120)
    return log.read_text().splitlines()[-1].split()


@pytest.fixture
def driver(tmp_path: Path) -> str:
    """A folder with a library of the name of CUDA's driver; there is no nvidia-smi, as in many containers."""
    from safetensors import _safetensors_rust as any_library

    folder = tmp_path / "driver"
    folder.mkdir()
    shutil.copy(any_library.__file__, folder / "libcuda.so.1")
    return str(folder)


def test_where_there_may_be_a_gpu_a_cell_can_initialize_cuda(tmp_path: Path, driver: str) -> None:
    assert told(tmp_path, LD_LIBRARY_PATH=driver, CUDA_VISIBLE_DEVICES="unset") == ["whole"]


@pytest.mark.parametrize("hidden", [True, False], ids=["gpus: 0", "no driver"])
def test_on_the_cpu_the_libraries_are_imported_once_for_all_cells(tmp_path: Path, driver: str, *, hidden: bool) -> None:
    variables = {"LD_LIBRARY_PATH": driver, "CUDA_VISIBLE_DEVICES": ""} if hidden else {"CUDA_VISIBLE_DEVICES": "unset"}
    assert told(tmp_path, **variables)[-2:] == ["peft", "bitsandbytes"]
