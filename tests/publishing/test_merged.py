"""A merged checkpoint, loaded by transformers alone, gives the predictions and the loss that the cell recorded."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers
from helpers.small_cells import Lab, make_lab, record_of
from safetensors.torch import load_file

from bench.cli.app import main
from bench.config.cell import Cell
from bench.evaluation.evaluate import Predictions, predict
from bench.inputs.cache_keys import data_folder
from bench.inputs.datasets import open_data
from bench.models.merged import save_plain
from bench.records.io import read_record, write_record

# Kind of model and method: each adapter, each storage, and each way in which a model stores what is adapted.
QUICK = {
    "nf4": ("classification", "qlora_adalora"),
    "fused": ("classifying-gpt2", "adalora"),
    "tied": ("summarization", "lora"),
}
OTHERS = {
    "decoder": ("causal-lm", "adalora"),
    "scaled": ("classification", "ia3"),
    "lora": ("classification", "lora"),
    "adalora": ("classification", "adalora"),
    "bf16": ("classification", "lora_bf16"),
    "dora": ("classification", "dora"),
    "rslora": ("classification", "rslora"),
    "answers": ("question-answering", "adalora"),
    "tied_adalora": ("summarization", "adalora"),
    "fused_nf4": ("classifying-gpt2", "qlora_adalora"),
    "decoder_nf4": ("causal-lm", "qlora"),
}
RATE = 2e-2  # high, so that an adapter matters


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lab]:
    kinds = dict.fromkeys(kind for kind, _ in (QUICK | OTHERS).values())
    return {kind: make_lab(tmp_path_factory.mktemp(kind), kind) for kind in kinds}


@pytest.mark.parametrize("case", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)])
def test_what_was_recorded_is_given_again(labs: dict[str, Lab], case: str, tmp_path: Path) -> None:
    kind, method = (QUICK | OTHERS)[case]
    lab = labs[kind]
    cell, folder, out = trained(lab, method, tmp_path)
    export(lab, folder, out)
    record, found = record_of(folder), predictions(lab, cell, out)
    recorded = pd.read_parquet(folder / "predictions.parquet")["prediction"].tolist()
    exact = cell.method.storage == "fp32"
    # Under the other storages what flows between the layers was rounded to bfloat16, and here it is not.
    assert found.loss == pytest.approx(record.loss[cell.task.primary_split], rel=1e-4 if exact else 2e-2)
    same = sum(one == other for one, other in zip(recorded, found.values, strict=True))
    assert same == len(recorded) if exact else same >= 0.85 * len(recorded)
    if case == "fused":  # one matrix has lost all of its ranks
        assert 0 in {rank.end for rank in record.ranks.values()}


def trained(lab: Lab, method: str, folder: Path) -> tuple[Cell, Path, Path]:
    """A cell, its folder, and where to export it to."""
    cell = lab.prepare(lab.cell(method, learning_rate=RATE))
    assert lab.train(cell, folder / "seed-0", every=None) == 0
    return cell, folder / "seed-0", folder / "merged"


def export(lab: Lab, cell: Path, out: Path, *options: str) -> None:
    assert main(["export", str(cell), "--as", "merged", "--out", str(out), "--cache", str(lab.cache), *options]) == 0


def predictions(lab: Lab, cell: Cell, folder: Path) -> Predictions:
    """Of the checkpoint in `folder`, which transformers loads with its own tokenizer."""
    data = open_data(data_folder(cell.task, cell.backbone, cell.data, None, lab.cache))
    model = getattr(transformers, cell.task.facts.auto_class).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    split = data.evaluation[cell.task.primary_split]
    return predict(model, cell.task, split, tokenizer, 8, torch.device("cpu"))


@pytest.fixture(scope="module")
def made(labs: dict[str, Lab], tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, Path]:
    """A trained cell of summaries, and its lab."""
    _, folder, _ = trained(labs["summarization"], "lora", tmp_path_factory.mktemp("made"))
    return labs["summarization"], folder


def test_a_model_that_writes_is_saved_with_the_settings_of_its_task(made: tuple[Lab, Path], tmp_path: Path) -> None:
    lab, folder = made
    export(lab, folder, tmp_path / "merged")
    settings = transformers.GenerationConfig.from_pretrained(tmp_path / "merged")
    assert (settings.num_beams, settings.max_length, settings.do_sample) == (2, 8, False)
    assert settings.decoder_start_token_id == 3


def test_bfloat16_rounds_what_float32_holds(
    made: tuple[Lab, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    lab, folder = made
    export(lab, folder, tmp_path / "float32")
    export(lab, folder, tmp_path / "bfloat16", "--dtype", "bfloat16")
    exact, rounded = (load_file(tmp_path / dtype / "model.safetensors") for dtype in ("float32", "bfloat16"))
    assert exact.keys() == rounded.keys()
    for name, values in exact.items():
        assert values.dtype == torch.float32
        assert torch.equal(values.bfloat16(), rounded[name]), name
    assert json.loads((tmp_path / "bfloat16" / "config.json").read_text())["dtype"] == "bfloat16"
    assert "merged into its base" in capsys.readouterr().err


def test_classes_are_named_and_no_place_on_this_machine_is(labs: dict[str, Lab], tmp_path: Path) -> None:
    lab = labs["classification"]
    _, folder, out = trained(lab, "qlora", tmp_path)
    export(lab, folder, out)
    config = json.loads((out / "config.json").read_text())
    assert config["id2label"] == {"0": "unacceptable", "1": "acceptable"}
    assert "quantization_config" not in config
    assert "dequantized from NF4" in (out / "README.md").read_text()
    for file in out.iterdir():
        assert str(tmp_path.parent).encode() not in file.read_bytes(), file.name


def test_what_is_not_what_was_recorded_is_refused(
    made: tuple[Lab, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    lab, folder = made
    changed = shutil.copytree(folder, tmp_path / "seed-0")
    with (changed / "adapter" / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    assert_refused(lab, changed, tmp_path, capsys, r"adapter_model\.safetensors: not what was recorded")
    other = make_lab(tmp_path / "other", "summarization")
    config = other.model / "config.json"
    config.write_text(config.read_text().replace('"dropout": 0.1', '"dropout": 0.2'))
    shutil.copytree(other.model, tmp_path / "model")
    record = read_record(folder / "record.json")
    spec = json.loads(json.dumps(record.spec).replace(str(lab.model), str(tmp_path / "model")))
    moved = shutil.copytree(folder, tmp_path / "seed-1")
    write_record(record.model_copy(update={"spec": spec}), moved)
    assert_refused(lab, moved, tmp_path, capsys, r"'small' is not the one that the cell was trained on: config\.json")


def test_a_model_that_was_trained_in_full_is_left_as_it_is(
    labs: dict[str, Lab], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    _, folder, _ = trained(labs["classification"], "full", tmp_path)
    assert_refused(
        labs["classification"], folder, tmp_path, capsys, "'full' trained the whole model: .*nothing to merge"
    )


def assert_refused(lab: Lab, cell: Path, folder: Path, capsys: pytest.CaptureFixture, words: str) -> None:
    out = folder / "refused"
    assert main(["export", str(cell), "--as", "merged", "--out", str(out), "--cache", str(lab.cache)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line), line
    assert not out.exists()


@pytest.mark.parametrize("tied", [True, False])
def test_the_config_says_whether_the_head_is_the_embedding(tmp_path: Path, tied: bool) -> None:
    """As Flan-T5's is not, whatever transformers writes down. It loads either way; other engines go by the config."""
    sizes = {"d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 30}
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes, decoder_start_token_id=0)).eval()
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(30, 16))
    words = {"input_ids": torch.arange(3, 9)[None], "labels": torch.arange(4, 8)[None]}
    expected = model(**words).logits
    save_plain(model, tmp_path, tmp_path / "saved", "float32")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["tie_word_embeddings"] is tied
    loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved").eval()
    torch.testing.assert_close(loaded(**words).logits, expected)
