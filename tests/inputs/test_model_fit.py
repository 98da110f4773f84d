"""A text that a model has no position for, and a dropout that its head does not have, are refused before any job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from bench.cli.app import main
from bench.config.backbone import Backbone
from bench.config.catalog import load_catalog
from bench.errors import BenchError
from bench.inputs.model_fit import check_prepared, faults, positions_of, set_head_dropout

SIZE = 20
ENCODER = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": SIZE,
}
DECODER = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8}
BART = {
    "vocab_size": 30,
    "d_model": 8,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 8,
    **DECODER,
}
T5 = {
    "vocab_size": 30,
    "d_model": 8,
    "d_kv": 4,
    "d_ff": 8,
    "num_layers": 1,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
DISTIL = {"vocab_size": 30, "dim": 8, "hidden_dim": 8, "n_layers": 1, "n_heads": 2, "max_position_embeddings": SIZE}
XLNET = {"vocab_size": 30, "d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 8}
GPT2 = {
    "vocab_size": 30,
    "n_embd": 8,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": SIZE,
    "pad_token_id": 0,
    "eos_token_id": 2,
}
# Model type, its config, the longest text, the config's name of the dropout before the classifier (None: it has none).
CLASSIFIERS: list[tuple[str, dict[str, Any], int | None, str | None]] = [
    ("bert", ENCODER, SIZE, "classifier_dropout"),
    ("electra", {**ENCODER, "embedding_size": 8}, SIZE, "classifier_dropout"),
    ("albert", {**ENCODER, "embedding_size": 8}, SIZE, "classifier_dropout_prob"),
    ("roberta", {**ENCODER, "pad_token_id": 1}, SIZE - 2, "classifier_dropout"),
    ("xlm-roberta", {**ENCODER, "pad_token_id": 1}, SIZE - 2, "classifier_dropout"),
    ("camembert", {**ENCODER, "pad_token_id": 5}, SIZE - 6, "classifier_dropout"),
    ("longformer", {**ENCODER, "pad_token_id": 1, "attention_window": 4}, SIZE - 2, "hidden_dropout_prob"),
    ("mpnet", {**ENCODER, "pad_token_id": 1}, SIZE - 2, "hidden_dropout_prob"),
    ("distilbert", DISTIL, SIZE, "seq_classif_dropout"),
    ("deberta-v2", {**ENCODER, **RELATIVE}, None, "cls_dropout"),
    ("deberta-v2", {**ENCODER, "relative_attention": True}, SIZE, "cls_dropout"),
    ("bart", {**BART, "max_position_embeddings": SIZE}, SIZE, "classifier_dropout"),
    ("t5", T5, None, "classifier_dropout"),
    ("xlnet", XLNET, None, "summary_last_dropout"),
    ("xlnet", {**XLNET, "summary_last_dropout": 0}, None, "summary_last_dropout"),
    ("gpt2", GPT2, SIZE, None),
]
GENERATORS = [
    ("bart", {**BART, "max_position_embeddings": SIZE}, SIZE, SIZE),
    ("mbart", {**BART, "max_position_embeddings": SIZE}, SIZE, SIZE),
    ("pegasus", {**BART, "max_position_embeddings": SIZE}, SIZE, SIZE),
    (
        "led",
        {
            **BART,
            "max_encoder_position_embeddings": 2 * SIZE,
            "max_decoder_position_embeddings": SIZE,
            "attention_window": 4,
        },
        2 * SIZE,
        SIZE,
    ),
    ("t5", T5, None, None),
]
BACKBONE = Backbone(name="b", path="b", kinds=["classification"], matrices=["query"])


def model_of(kind: str, config: dict[str, Any], *, generates: bool = False) -> Any:
    auto = AutoModelForSeq2SeqLM if generates else AutoModelForSequenceClassification
    return auto.from_config(AutoConfig.for_model(kind, **config)).eval()


def reads(model: Any, source: int, target: int | None = None) -> bool:
    """Whether the model takes a text of `source` tokens and a target of `target`."""
    ids = torch.full((1, source), 7)
    ids[0, -1] = model.config.eos_token_id or 7  # where a classifier of BART or T5 looks
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if target:
        inputs["decoder_input_ids"] = torch.full((1, target), 7)
    try:
        with torch.inference_mode():
            model(**inputs)
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize(("kind", "config", "longest", "_"), CLASSIFIERS)
def test_the_longest_text_is_the_one_that_the_model_reads(
    kind: str, config: dict[str, Any], longest: int | None, _: str | None
) -> None:
    model = model_of(kind, config)
    assert positions_of(model, has_decoder=False).source == longest
    assert reads(model, longest or 3 * SIZE)
    if longest is not None:
        assert not reads(model, longest + 1)


@pytest.mark.parametrize(("kind", "config", "source", "target"), GENERATORS)
def test_sources_and_targets_have_limits_of_their_own(
    kind: str, config: dict[str, Any], source: int | None, target: int | None
) -> None:
    model = model_of(kind, config, generates=True)
    found = positions_of(model, has_decoder=True)
    assert (found.source, found.target) == (source, target)
    assert reads(model, source or 3 * SIZE, target or 3 * SIZE)
    if target is not None:
        assert not reads(model, 4, target + 1)


@pytest.mark.parametrize(("kind", "config", "_", "key"), CLASSIFIERS)
def test_the_dropout_before_the_classifier_is_set_whatever_its_name(
    kind: str, config: dict[str, Any], _: int | None, key: str | None
) -> None:
    model = model_of(kind, config)
    if key is None:
        with pytest.raises(BenchError, match="the head of backbone 'b' has no dropout"):
            set_head_dropout(model, 0.3, BACKBONE)
        return
    set_head_dropout(model, 0.3, BACKBONE)
    as_configured = model_of(kind, {**config, key: 0.3})
    base = {f"{model.base_model_prefix}.{name}" for name, _ in model.base_model.named_modules()}

    def rates(one: Any) -> dict[str, float]:
        return {n: m.p for n, m in one.named_modules() if isinstance(m, torch.nn.Dropout) and n not in base}

    assert rates(model) == rates(as_configured)
    assert 0.3 in rates(model).values()


def test_bench_check_names_the_line_of_a_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """RoBERTa's 20 rows of positions are 18 tokens."""
    for folder in ("tasks", "methods", "backbones", "studies"):
        (tmp_path / folder).mkdir()
    config = ", ".join(f"{key}: {value}" for key, value in ENCODER.items())
    (tmp_path / "backbones" / "b.yaml").write_text(
        "name: b\npath: b\nkinds: [classification]\nmatrices: [query]\nhead: [classifier]\n"
        f"config: {{model_type: roberta, pad_token_id: 1, {config}}}\n"
    )
    (tmp_path / "methods" / "m.yaml").write_text("name: m\nlabel: M\nadapter: lora\n")
    (tmp_path / "tasks" / "t.yaml").write_text(
        "name: t\nkind: classification\nlabels: [a, b]\nmetrics: [accuracy]\n"
        "data: {hub: a/b, columns: {text: [x], target: y}}\n"
        "recipe:\n  batch_size: 8\n  max_length: 19\n"
    )
    (tmp_path / "studies" / "s.yaml").write_text(
        "name: s\ndescription: d\ntasks: [t]\nmethods: [m]\nbackbones: {classification: b}\n"
        "budgets: {one: {rank: 1}}\nseeds: [0]\n"
    )
    assert main(["check", "--workflow", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "t.yaml:8" in said
    assert "recipe.max_length is 19, but backbone 'b' has 18 positions" in said


def test_an_attention_that_a_model_lacks_is_refused(tmp_path: Path) -> None:
    AutoConfig.for_model("deberta-v2", **ENCODER, **RELATIVE).save_pretrained(tmp_path)
    with pytest.raises(BenchError, match=r"backbone 'b' can't be built for classification: .*set `attention: eager`"):
        check_prepared(load_catalog().tasks["cola"].item, BACKBONE, tmp_path)


def test_checkpointing_that_a_model_lacks_is_refused() -> None:
    task = load_catalog().tasks["cola"].item
    recipe = task.recipe.model_copy(update={"max_length": 8, "gradient_checkpointing": True})
    albert = model_of("albert", {**ENCODER, "embedding_size": 8})
    ((path, fault),) = faults(albert, task, recipe, BACKBONE)
    assert path == ("recipe", "gradient_checkpointing")
    assert "AlbertForSequenceClassification" in fault


@pytest.mark.parametrize(
    ("kind", "config", "task", "missing"),
    [
        ("gpt2", {**GPT2, "pad_token_id": None}, "cola", "pad_token_id"),
        ("t5", {**T5, "decoder_start_token_id": None}, "cnn_dailymail", "decoder_start_token_id"),
    ],
)
def test_a_model_whose_config_lacks_a_token_is_refused(
    tmp_path: Path, kind: str, config: dict[str, Any], task: str, missing: str
) -> None:
    AutoConfig.for_model(kind, **config).save_pretrained(tmp_path)
    chosen = load_catalog().tasks[task].item
    short = chosen.model_copy(
        update={"recipe": chosen.recipe.model_copy(update={"max_length": 8, "head_dropout": None})}
    )
    with pytest.raises(BenchError, match=f"has no {missing}"):
        check_prepared(short, BACKBONE, tmp_path)
