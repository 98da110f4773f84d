"""Segment ids reach the models that take them, as plain transformers passes them, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_models import save_bert_of_pairs
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForSequenceClassification

from bench.config.backbone import Backbone
from bench.config.catalog import load_catalog
from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs import synthetic
from bench.inputs.backbones import prepare_backbone
from bench.inputs.collate import Collator
from bench.inputs.datasets import open_data, prepare_task
from bench.inputs.reader import load_tokenizer
from bench.inputs.segments import SEGMENT_IDS, has_segments
from bench.training.holdout import hold_out

ROWS = 12


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    return {name: entry.item for name, entry in load_catalog().tasks.items()}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    save_bert_of_pairs(folder, ROWS)
    return folder


def prepared(folder: Path, task: Task, cache: Path) -> tuple[Path, Path]:
    """The prepared model in `folder` and rows of `task`."""
    backbone = Backbone(name=folder.name, path=str(folder), kinds=["classification"], matrices=["query"])
    choice = DataChoice(source="embedded", train_rows=ROWS, evaluation_rows=ROWS)
    model = prepare_backbone(backbone, mirror=None, cache=cache)
    return model, prepare_task(task, backbone, choice, mirror=None, cache=cache)


def configured(folder: Path, target: Path, **config: Any) -> Path:
    """A copy of the folder with other values in its config.json (None removes one)."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    changed = {**json.loads((folder / "config.json").read_text()), **config}
    (target / "config.json").write_text(json.dumps({k: v for k, v in changed.items() if v is not None}))
    return target


@pytest.mark.parametrize("side", ["right", "left"])
def test_batches_give_the_logits_of_plain_transformers(
    bert: Path, tasks: dict[str, Task], tmp_path: Path, side: str
) -> None:
    tokenizer_config = json.loads((bert / "tokenizer_config.json").read_text())
    folder = configured(bert, tmp_path / side)
    (folder / "tokenizer_config.json").write_text(json.dumps({**tokenizer_config, "padding_side": side}))
    model_folder, data_folder = prepared(folder, tasks["mnli"], tmp_path / "cache")
    split = open_data(data_folder).evaluation["matched"]
    tokenizer = load_tokenizer(model_folder)
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=3).eval()

    batch = Collator(split, "classification", tokenizer, torch.device("cpu"))(range(ROWS))
    texts = synthetic.rows("inference", "validation_matched").texts[:ROWS]
    first, second = zip(*texts, strict=True)
    plain = tokenizer(list(first), list(second), padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch.inputs).logits
        assert torch.equal(logits, model(**plain).logits)
        blind = {name: value for name, value in batch.inputs.items() if name != SEGMENT_IDS}
        assert not torch.allclose(logits, model(**blind).logits, atol=1e-2)


def test_rows_held_out_keep_their_segments(bert: Path, tasks: dict[str, Task], tmp_path: Path) -> None:
    split = open_data(prepared(bert, tasks["mnli"], tmp_path / "cache")[1]).train
    for part in hold_out(split, 3):
        assert part.segment_ids is not None
        for ids, segments in zip(part.input_ids, part.segment_ids, strict=True):
            boundary = ids.tolist().index(3) + 1  # behind the first [SEP]
            assert segments.tolist() == [0] * boundary + [1] * (len(ids) - boundary)


def test_the_identity_of_rows_changes_only_with_segments(bert: Path, tasks: dict[str, Task], tmp_path: Path) -> None:
    """A model without segments reads the rows that it read before there were any in the files."""
    alone = configured(bert, tmp_path / "alone", type_vocab_size=1)
    found = {}
    for name in ("mnli", "cola"):
        for folder in (bert, alone):
            data = open_data(prepared(folder, tasks[name], tmp_path / "cache")[1])
            found[name, folder.name] = data.manifest["fingerprint"], data.train.segment_ids is not None
    (with_segments, has), (without, has_not) = found["mnli", bert.name], found["mnli", "alone"]
    assert (has, has_not) == (True, False)
    assert with_segments != without
    assert found["cola", bert.name] == found["cola", "alone"]
    assert not found["cola", "alone"][1]


@pytest.mark.parametrize(
    ("config", "task", "expected"),
    [
        ({}, "mnli", True),
        ({}, "cola", False),  # all zeros, which BERT assumes
        ({"model_type": "roberta", "type_vocab_size": 1}, "mnli", False),
        ({"model_type": "deberta-v2", "type_vocab_size": 0}, "mnli", False),
        ({"model_type": "electra"}, "mnli", True),
        ({"model_type": "distilbert", "type_vocab_size": None}, "mnli", False),  # its forward takes none
        ({"model_type": "xlnet", "type_vocab_size": None, "max_position_embeddings": None, "d_head": 16}, "mnli", True),
        ({"model_type": "bart", "type_vocab_size": None}, "cnn_dailymail", False),
    ],
)
def test_who_is_told_segments(
    bert: Path, tasks: dict[str, Task], tmp_path: Path, config: dict[str, Any], task: str, expected: bool
) -> None:
    folder = configured(bert, tmp_path / "other", **config)
    assert has_segments(tasks[task], load_tokenizer(bert), folder) is expected


def test_a_tokenizer_with_more_segments_than_the_model_is_refused(
    bert: Path, tasks: dict[str, Task], tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(bert)
    folder = configured(bert, tmp_path / "other", model_type="fnet", type_vocab_size=2)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $0 [SEP]", pair="[CLS]:2 $A:0 [SEP]:0 $B:3 [SEP]:3", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    with pytest.raises(BenchError, match=r"segment id 3.*2 segments"):
        has_segments(tasks["mnli"], tokenizer, folder)


def test_a_tokenizer_with_more_words_than_the_model_is_refused(
    bert: Path, tasks: dict[str, Task], tmp_path: Path
) -> None:
    words = (bert / "vocab.txt").read_text().split()
    other = configured(bert, tmp_path / "other", vocab_size=len(words) - 1)
    with pytest.raises(BenchError, match=f"ids up to {len(words) - 1}, but .* has {len(words) - 1} embeddings"):
        prepared(other, tasks["mnli"], tmp_path / "cache")
