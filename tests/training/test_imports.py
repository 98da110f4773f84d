"""A process of `bench train` leaves out what no cell uses, and the results are those of a process with everything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.small_cells import Lab, outcome

SCRIPT = """
import json, sys
from pathlib import Path
from bench.training.imports import import_libraries
from bench.config.cell import Cell
cell = Cell.model_validate_json(sys.stdin.read())
import_libraries(quantized=cell.method.storage == "nf4")
from bench.training.run import train_cell
train_cell(cell, out=Path(sys.argv[1]), cache=Path(sys.argv[2]))
print(json.dumps([name for name, module in sys.modules.items() if module is not None]))
"""


@pytest.mark.parametrize("method", ["lora", "qlora_adalora"])
def test_same_bits_without_what_no_cell_uses(lab: Lab, tmp_path: Path, method: str) -> None:
    cell = lab.cell(method)
    accuracy_alone = cell.task.model_copy(update={"metrics": ["accuracy"]})  # the other metrics are scikit-learn's
    cell = lab.prepare(cell.model_copy(update={"task": accuracy_alone}))
    assert lab.train(cell, tmp_path / "whole" / "cell") == 0
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "lean"), str(lab.cache)]
    done = subprocess.run(command, input=cell.model_dump_json(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    unused = ["sklearn", "pandas", "scipy", "datasets", "torch._inductor", "torch._dynamo.symbolic_convert"]
    assert [name for name in unused if name in loaded] == []
    assert ("bitsandbytes" in loaded) == (method == "qlora_adalora")
    assert outcome(tmp_path / "lean") == outcome(tmp_path / "whole" / "cell")


PROFILED = """
from bench.training.imports import import_libraries
import_libraries(quantized=False)
import torch
from torch.profiler import profile
model = torch.nn.Linear(3, 3)
with profile() as profiler:
    model(torch.ones(2, 3)).sum().backward()
print([event.key for event in profiler.key_averages()])
assert torch.compile(model, backend="eager")(torch.ones(2, 3)).shape == (2, 3)
"""


def test_profiler_and_compiler_are_there_for_who_asks() -> None:
    done = subprocess.run([sys.executable, "-c", PROFILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "aten::linear" in done.stdout
