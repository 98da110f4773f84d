"""Fuzz of the readers of checkpoints and adapters: whatever stands in their files is loaded as it was written, or
refused by name. (YAML: tests/config/test_errors.py; records: test_fault_28_29_records.py; the page: tests/analysis.)"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bench.cli.app import main
from bench.training.checkpoints import Checkpoint, Checkpoints

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3)}
FILES = ("state.safetensors", "state.json", "manifest.json")
RARE = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def spoiled(data: bytes, draw: Any) -> bytes:
    """The file with a part replaced, cut off, or exchanged for any JSON."""
    kind = draw(st.sampled_from(["part", "cut", "json", "key"]))
    if kind == "json":
        return json.dumps(draw(JSON)).encode()
    if kind == "key" and data[:1] == b"{":
        mapping = json.loads(data)
        mapping[draw(st.sampled_from(sorted(mapping)))] = draw(JSON)
        return json.dumps(mapping).encode()
    start = draw(st.integers(0, len(data) - 1))
    return data[:start] + (b"" if kind == "cut" else draw(st.binary(max_size=9)) + data[start + 4 :])


@RARE
@given(data=st.data())
def test_any_checkpoint_is_loaded_as_written_or_refused(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    kept = Checkpoints(folder, {"cell": "c"})
    kept.curve.write_bytes(b"")
    empty = hashlib.sha256(b"").hexdigest()
    kept.save(3, TENSORS, {"core": {"step": 3}, "curve": {"length": 0, "sha256": empty}})
    step = folder / "step-000000003"
    name = data.draw(st.sampled_from(FILES))
    (step / name).write_bytes(spoiled((step / name).read_bytes(), data.draw))
    if name != "manifest.json" and data.draw(st.booleans()):  # whoever spoils a file can write its hash too
        manifest = json.loads((step / "manifest.json").read_text())
        manifest["sha256"][name] = hashlib.sha256((step / name).read_bytes()).hexdigest()
        (step / "manifest.json").write_text(json.dumps(manifest))
        forged = True
    else:
        forged = False
    found: list[Checkpoint] = []
    at, faults = Checkpoints(folder, {"cell": "c"}).resume(found.append)
    if at is None:
        assert len(faults) == 1
        assert step.name in faults[0]
    elif not forged:
        assert at.step == 3
        assert torch.equal(found[0].tensors["weight"], TENSORS["weight"])
        assert found[0].state["core"] == {"step": 3}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "cell" / "adapter"
    folder.mkdir(parents=True)
    site = "base_model.model.layer.0.query"
    shapes = {"lora_A": (2, 4), "lora_B": (3, 2), "lora_E": (2, 1)}
    save_file(
        {f"{site}.{part}": torch.ones(shape) for part, shape in shapes.items()}, folder / "adapter_model.safetensors"
    )
    config = {"peft_type": "ADALORA", "lora_alpha": 16, "init_r": 2, "task_type": "SEQ_CLS"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@RARE
@given(data=st.data())
def test_any_adapter_is_exported_or_refused(data: st.DataObject, adapter: Path, tmp_path_factory: Any) -> None:
    out = tmp_path_factory.mktemp("out") / "lora"
    files = {file: file.read_bytes() for file in adapter.iterdir()}
    name = data.draw(st.sampled_from(sorted(files)))
    try:
        name.write_bytes(spoiled(files[name], data.draw))
        code = main(["export", str(adapter.parent), "--out", str(out)])
    finally:
        for file, content in files.items():
            file.write_bytes(content)
    assert code in (0, 2)
    assert out.exists() == (code == 0)
    if code == 0:
        assert all(torch.is_tensor(tensor) for tensor in load_file(out / "adapter_model.safetensors").values())


@pytest.mark.parametrize(
    ("key", "value"), [("task_type", [float("inf")]), ("revision", float("nan")), ("init_r", -1e-5)]
)
def test_numbers_that_lead_nowhere_are_refused(adapter: Path, tmp_path: Path, key: str, value: Any) -> None:
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), key: value}))
    assert main(["export", str(adapter.parent), "--out", str(tmp_path / "lora")]) == 2
    assert not (tmp_path / "lora").exists()


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        ({"target_modules": ["layer.0.query", "layer.1.query"]}, {}, "layer.1.query named"),
        ({"rank_pattern": {"model.layer.1.query.lora_E": [True, False]}}, {}, "model.layer.1.query named"),
        ({"modules_to_save": ["classifier", "score"]}, {}, "classifier or score named"),
        ({"modules_to_save": ["pooler"]}, {}, "pooler named"),
        ({}, {"lora_E": torch.ones(1, 1)}, "expected A .r, in., E .r, 1. and B .out, r., found A .2, 4., E .1, 1."),
        ({}, {"lora_A": None}, "lora_A"),
    ],
)
def test_an_adapter_that_is_not_whole_is_refused(
    adapter: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    config: dict[str, Any],
    tensors: dict[str, Any],
    message: str,
) -> None:
    file, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    changed = {**load_file(weights), **{f"base_model.model.layer.0.query.{name}": t for name, t in tensors.items()}}
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, weights)
    assert main(["export", str(adapter.parent), "--out", str(tmp_path / "lora")]) == 2
    assert re.search(f"no whole AdaLoRA adapter.*{message}", capsys.readouterr().err)
    assert not (tmp_path / "lora").exists()


def test_the_adapter_itself_is_exported(adapter: Path, tmp_path: Path) -> None:
    assert main(["export", str(adapter.parent), "--out", str(tmp_path / "lora")]) == 0
    found = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    assert torch.allclose(found["base_model.model.layer.0.query.lora_A.weight"], torch.full((2, 4), 16 / 2.00001))
