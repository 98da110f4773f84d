"""The processes of a cell agree on their device before anything waits. Whether one sees a GPU is a stand-in."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from helpers.small_cells import SERVER, torchrun_variables

AGREED, REFUSED = 40, 41  # exit codes
SOON = 60  # seconds; a process that waits for one with another backend waits for six hours


def meet(variables: dict[str, str], file: Path, *, sees_gpu: bool) -> None:
    """Meet the other process and note the GPU that this one works on and the backends that are asked for."""
    import torch
    from torch import distributed

    from bench.distributed import init_process_group
    from bench.errors import TransientError

    os.environ.update(variables)
    torch.cuda.is_available = lambda: sees_gpu
    torch.cuda.set_device = lambda number: file.open("a").write(f"device {number}\n") and None
    make = distributed.new_group

    def new_group(*, backend: str, timeout: object) -> object:  # NCCL itself needs a GPU
        file.open("a").write(f"{backend}\n")
        return make(backend="gloo", timeout=timeout)

    distributed.new_group = new_group
    try:
        processes = init_process_group()
    except TransientError as error:
        file.write_text(str(error))
        os._exit(REFUSED)
    total = torch.ones(1)
    processes.all_reduce_sum(total)
    os._exit(AGREED if total == 2 else 1)


@pytest.mark.parametrize("seen", [(True, True), (False, False), (True, False), (False, True)])
def test_they_agree_or_end_at_once(tmp_path: Path, seen: tuple[bool, bool]) -> None:
    variables = torchrun_variables(2)
    files = [tmp_path / str(rank) for rank in range(2)]
    processes = [
        SERVER.Process(target=meet, args=(variables[rank], files[rank]), kwargs={"sees_gpu": seen[rank]})
        for rank in range(2)
    ]
    began = time.monotonic()
    for process in processes:
        process.start()
    for process in processes:
        process.join(SOON)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert time.monotonic() - began < SOON
    if all(seen):
        assert codes == [AGREED, AGREED]
        assert [file.read_text() for file in files] == ["device 0\nnccl\n", "device 1\nnccl\n"]
    elif any(seen):
        assert codes == [REFUSED, REFUSED]
        blind = seen.index(False)
        assert {file.read_text().split(",")[0] for file in files} == {f"process {blind} of 2 sees no GPU"}
    else:
        assert codes == [AGREED, AGREED]
        assert not any(file.exists() for file in files)
