"""Cells of one job are forked from a server that has not touched CUDA. A stand-in takes the place of its driver."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """\
import sys
import time
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


STOPPED = """\
import sys, time
from pathlib import Path
import bench.training.group as group
from bench.training.signals import stop_flag

def saved():
    with stop_flag() as flag:
        print("ready", flush=True)
        while flag.name is None:
            time.sleep(0.05)
        time.sleep(1)  # it saves what it has; the signal comes once more meanwhile, from the group
        sys.exit(75)

if __name__ == "__main__":
    group.PRELOAD[:] = group.PRELOAD_FOR_GPU[:] = []
    job = group.Job("saved", saved, Path(sys.argv[1]))
    processes = group.Group()
    with processes.passing_signals():
        sys.exit(next(iter(processes.run([job])))[1])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_job_leaves_the_server_alive(tmp_path: Path, number: int) -> None:
    """As timeout, a terminal and Slurm send it: the exit code of a cell that saved itself is not lost."""
    script, log = tmp_path / "job.py", tmp_path / "log"
    script.write_text(STOPPED)
    process = subprocess.Popen([sys.executable, str(script), str(log)], start_new_session=True)
    while not (log.is_file() and "ready" in log.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, number)
    assert process.wait(60) == 75
