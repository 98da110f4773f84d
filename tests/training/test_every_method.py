"""Methods that ship, trained as a job does: by the command line, in a process that imports no more than it needs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.small_cells import Lab, record_of

from bench.config.catalog import WORKFLOW, load_catalog
from bench.engine.allocators.names import ALLOCATORS

METHODS = {name: found.item for name, found in load_catalog(WORKFLOW).methods.items()}
# What takes over ranks needs a cell that is trained before: tests/pipeline/test_donors_graph.py.
WHOLE = [
    name
    for name, m in METHODS.items()
    if m.storage != "nf4" and m.matrices is None and m.depth is None and not (m.pattern and m.pattern.source)
]


def _workflow(folder: Path, lab: Lab, methods: list[str], **recipe: object) -> Path:
    """A copy of workflow/ with a study of `methods` on the lab's model."""
    shutil.copytree(WORKFLOW, folder)
    backbone = {
        "name": "small",
        "path": str(lab.model),
        "kinds": ["classification"],
        "head": ["pooler", "classifier"],
        "matrices": yaml.safe_load((WORKFLOW / "backbones" / "minilm.yaml").read_text())["matrices"],
        "config": json.loads((lab.model / "config.json").read_text()),
    }
    study = {
        "name": "every",
        "data": "embedded",
        "backbones": {"classification": "small"},
        "tasks": ["cola"],
        "methods": methods,
        "budgets": {"b": {"rank": 4, "initial_rank": 6}},
        "seeds": [0],
        "limits": {"train_rows": 60, "evaluation_rows": 16},
        "recipe": {"epochs": 3, "batch_size": 12, "max_length": 24, "holdout_rows": 12, **recipe},
    }
    for kind, item in (("backbones", backbone), ("studies", study)):
        (folder / kind / f"{item['name']}.yaml").write_text(yaml.safe_dump(item))
    return folder


def test_every_allocator_has_a_method() -> None:
    assert {method.allocator for method in METHODS.values()} == set(ALLOCATORS)


@pytest.mark.long
@pytest.mark.parametrize(
    ("methods", "recipe"), [(WHOLE, {}), (["lora", "full"], {"gradient_checkpointing": True, "accumulation": 2})]
)
def test_every_method_ends_with_a_score(
    lab: Lab, tmp_path: Path, methods: list[str], recipe: dict[str, object]
) -> None:
    workflow = _workflow(tmp_path / "workflow", lab, methods, **recipe)
    command = [sys.executable, "-m", "bench.cli", "group", "--study", "every", "--task", "cola", "--cells"]
    command += [f"{method}/b/0" for method in methods]
    command += ["--workflow", str(workflow), "--results", str(tmp_path), "--cache", str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    for method in methods:
        record = record_of(tmp_path / "every" / "cells" / "cola" / method / "b" / "seed-0")
        assert (method, record.status) == (method, "ok"), record.message
        assert record.bytes
        assert record.bytes.peak.predicted
        assert record.training
        assert record.training.utilization
