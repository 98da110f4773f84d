"""`bench export` and `bench evaluate`: where they write, and records that this version can't read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.folders import empty_folders
from safetensors.torch import save_file

from bench.analysis.results import Results
from bench.cli.app import main
from bench.records.io import read_record, write_record


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """The folder of a cell with an AdaLoRA adapter of one matrix."""
    adapter = tmp_path / "cell" / "adapter"
    adapter.mkdir(parents=True)
    shapes = {"lora_A": (2, 4), "lora_B": (3, 2), "lora_E": (2, 1)}
    tensors = {f"base_model.model.layer.0.query.{part}": torch.ones(shape) for part, shape in shapes.items()}
    save_file(tensors, adapter / "adapter_model.safetensors")
    config = {"peft_type": "ADALORA", "lora_alpha": 16, "init_r": 2, "task_type": "SEQ_CLS"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    return adapter.parent


@pytest.mark.parametrize("out", [".", "../link"])
def test_an_empty_folder_is_filled_and_stays(
    out: str, cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the mount of a container must, or the folder that a shell stands in."""
    empty_folders(tmp_path, monkeypatch)
    before = Path(out).stat().st_ino
    assert main(["export", str(cell), "--out", out]) == 0
    assert sorted(file.name for file in Path(out).iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert Path(out).stat().st_ino == before


def test_nothing_is_left_in_it_after_an_error(cell: Path, tmp_path: Path) -> None:
    (cell / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "out").mkdir()
    assert main(["export", str(cell), "--out", str(tmp_path / "out")]) == 2
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("words", [("export", "--as", "merged", "--out", "out"), ("evaluate",)])
def test_a_spec_of_another_version(
    words: tuple[str, ...], made: Callable[..., Results], capsys: pytest.CaptureFixture[str]
) -> None:
    results = made(1)
    folder = results.paths.cell("cola/lora/small/seed-0").folder
    record = read_record(folder / "record.json")
    write_record(record.model_copy(update={"spec": {**record.spec, "colour": "red"}}), folder)
    assert main([words[0], str(folder), *words[1:]]) == 2
    assert f"{folder / 'record.json'}: its spec can't be read by this version: field colour" in capsys.readouterr().err
