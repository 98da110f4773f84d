"""A model is prepared whole or refused: its tokenizer, its weights in any of the published forms, its length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, BertConfig, BertModel, DebertaV2Config, DebertaV2Model

from bench.config.backbone import Backbone
from bench.config.catalog import load_catalog
from bench.config.cell import DataChoice
from bench.errors import BenchError, TransientError
from bench.inputs import synthetic
from bench.inputs.backbones import prepare_backbone
from bench.inputs.datasets import prepare_task
from bench.inputs.reader import load_tokenizer

SMALL: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 48,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sleeps"]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A BERT as its makers publish it: config.json, vocab.txt, model.safetensors."""
    folder = tmp_path / "mirror" / "models" / "somebody" / "bert"
    BertModel(BertConfig(**SMALL)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    return folder


def prepared(folder: Path, tmp_path: Path, hub: str = "somebody/bert") -> Path:
    mirror = folder.parent.parent.parent
    backbone = Backbone(name="b", hub=hub, kinds=["classification"], matrices=["query"])
    return prepare_backbone(backbone, mirror=mirror, cache=tmp_path / "cache")


def pickled(folder: Path, **more: Any) -> dict[str, torch.Tensor]:
    """The weights of `folder` as pytorch_model.bin alone."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**state, **more}, folder / "pytorch_model.bin")
    return state


def test_a_deberta_with_spm_and_pickled_weights(tmp_path: Path) -> None:
    """As microsoft/deberta-v3-base is: spm.model without tokenizer.json, pytorch_model.bin without safetensors."""
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    folder = tmp_path / "mirror" / "models" / "somebody" / "deberta"
    DebertaV2Model(DebertaV2Config(**SMALL)).save_pretrained(folder)
    state = pickled(folder)
    texts = [row[0] for row in synthetic.rows("acceptability", "train").texts]
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(folder / "spm"),
        vocab_size=200,
        hard_vocab_limit=False,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
        minloglevel=2,
    )
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "vocab_type": "spm"}')
    model = prepared(folder, tmp_path, "somebody/deberta")
    tokenizer, words = load_tokenizer(model), SentencePieceProcessor(model_file=str(folder / "spm.model"))
    for text in [*texts[:20], "Zürich  sleeps , twice."]:
        ids = tokenizer(text)["input_ids"]
        assert (ids[1:-1], ids[0], ids[-1]) == (words.encode(text), 1, 2)
    weights = AutoModel.from_pretrained(model, local_files_only=True, use_safetensors=True).state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in state.items())


def test_pickled_weights_are_converted_once(published: Path, tmp_path: Path) -> None:
    view = torch.arange(6.0).reshape(2, 3)
    state = pickled(published, turned=view.T, shared=view, again=view)
    model = prepared(published, tmp_path)
    found = load_file(model / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert torch.equal(found["turned"], view.T)
    assert torch.equal(found["again"], view)
    assert not (model / "pytorch_model.bin").exists()
    manifest = json.loads((model / "manifest.json").read_text())
    assert "model.safetensors" in manifest["files"]
    assert list(manifest["converted"]) == ["pytorch_model.bin"]


@pytest.mark.parametrize("content", [{"epoch": 3}, {"model": {"weight": torch.zeros(2)}}, [torch.zeros(2)], {}])
def test_pickled_weights_hold_tensors_alone(published: Path, tmp_path: Path, content: Any) -> None:
    (published / "model.safetensors").unlink()
    torch.save(content, published / "pytorch_model.bin")
    with pytest.raises(BenchError, match=r"pytorch_model\.bin is refused"):
        prepared(published, tmp_path)
    (published / "pytorch_model.bin").write_bytes(b"no pickle")
    with pytest.raises(BenchError, match=r"pytorch_model\.bin: .*refused"):
        prepared(published, tmp_path)


@pytest.mark.parametrize("left", [(), ("vocab.json",)])
def test_a_model_without_a_tokenizer_is_refused(published: Path, tmp_path: Path, left: tuple[str, ...]) -> None:
    assert load_tokenizer(prepared(published, tmp_path))("the cat sleeps")["input_ids"] == [2, 5, 6, 7, 3]
    (published / "vocab.txt").unlink()
    for name in left:
        (published / name).write_text('{"<unk>": 0}')
    with pytest.raises(BenchError, match=r"backbone 'b': no tokenizer .*tokenizer\.json, vocab\.txt"):
        prepared(published, tmp_path / "anew")


def test_sharded_weights_are_loaded(published: Path, tmp_path: Path) -> None:
    whole = AutoModel.from_pretrained(published)
    (published / "model.safetensors").unlink()
    whole.save_pretrained(published, max_shard_size="10KB")
    assert len(list(published.glob("model-*.safetensors"))) > 1
    model = prepared(published, tmp_path)
    found = AutoModel.from_pretrained(model, local_files_only=True, use_safetensors=True).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.state_dict().items())
    min(published.glob("model-*.safetensors")).unlink()
    with pytest.raises(BenchError, match=r"names shards that are missing: model-00001-of-"):
        prepared(published, tmp_path / "anew")


@pytest.mark.parametrize("safe", [True, False])
def test_the_hub_is_asked_for_a_pickle_last(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, safe: bool
) -> None:
    """Only where it has no safetensors."""
    import huggingface_hub

    asked: list[list[str]] = []

    def snapshot(hub: str, *, repo_type: str, revision: str, allow_patterns: list[str]) -> str:
        assert (hub, repo_type, revision) == ("somebody/bert", "model", "a" * 40)
        asked.append(allow_patterns)
        return str(published)

    if not safe:
        pickled(published)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    backbone = Backbone(name="b", hub="somebody/bert", revision="a" * 40, kinds=["classification"], matrices=["query"])
    model = prepare_backbone(backbone, mirror=None, cache=tmp_path / "cache")
    assert (model / "model.safetensors").is_file()
    assert "vocab.txt" in asked[0]
    assert asked[1:] == ([] if safe else [["pytorch_model.bin"]])


def test_no_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The HTTP library's own error, as it comes where no server answers."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    class Unanswered(HfHubHTTPError.__mro__[1]):  # type: ignore[misc]
        """Neither an OSError nor an error of the hub's."""

    def ask(*_: Any, **__: Any) -> None:
        raise Unanswered("no route")

    monkeypatch.setattr(HfApi, "model_info", ask)
    monkeypatch.setattr(HfApi, "dataset_info", ask)
    backbone = Backbone(name="b", hub="somebody/bert", kinds=["classification"], matrices=["query"])
    with pytest.raises(TransientError, match=r"backbone somebody/bert can't be fetched \(Unanswered\).*mirror=DIR"):
        prepare_backbone(backbone, mirror=None, cache=tmp_path)
    catalog = load_catalog()
    minilm, cola = catalog.backbones["minilm"].item, catalog.tasks["cola"].item
    prepare_backbone(minilm, mirror=None, cache=tmp_path)
    with pytest.raises(TransientError, match=r"data set nyu-mll/glue can't be fetched .*mirror=DIR"):
        prepare_task(cola, minilm, DataChoice(source="hub"), mirror=None, cache=tmp_path)


@pytest.mark.parametrize(
    ("length", "change", "refused"),
    [(48, {}, False), (49, {}, True), (49, {"model_type": "deberta-v2", "position_biased_input": False}, False)],
)
def test_rows_longer_than_the_model_are_refused(
    published: Path, tmp_path: Path, length: int, change: dict[str, Any], *, refused: bool
) -> None:
    config = json.loads((published / "config.json").read_text())
    (published / "config.json").write_text(json.dumps({**config, **change}))
    backbone = Backbone(name="b", path=str(published), kinds=["classification"], matrices=["query"], attention="eager")
    task = load_catalog().tasks["cola"].item
    task = task.model_copy(update={"recipe": task.recipe.model_copy(update={"max_length": length})})
    choice = DataChoice(source="embedded", train_rows=4, evaluation_rows=4)
    prepare_backbone(backbone, mirror=None, cache=tmp_path)
    if refused:
        with pytest.raises(BenchError, match=r"max_length is 49, but backbone 'b' has 48 positions"):
            prepare_task(task, backbone, choice, mirror=None, cache=tmp_path)
    else:
        assert prepare_task(task, backbone, choice, mirror=None, cache=tmp_path).is_dir()
