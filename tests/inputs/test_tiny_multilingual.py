"""The tiny mBART: it knows both languages and no translation, and adapters learn that within the study's few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_cells import Lab, record_of
from transformers import AutoModelForSeq2SeqLM

from bench.config.backbone import Backbone
from bench.config.catalog import load_catalog
from bench.config.resolve import load_study
from bench.inputs import synthetic
from bench.inputs.backbones import prepare_backbone
from bench.inputs.reader import load_tokenizer

ENGLISH, GERMAN = "en_XX", "de_DE"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller one of the same training."""
    shipped = load_catalog().backbones["tiny-mbart"].item
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    config = {**shipped.config, **layers, "d_model": 64}
    backbone = Backbone.model_validate({**shipped.model_dump(), "config": config})
    return prepare_backbone(backbone, mirror=None, cache=tmp_path_factory.mktemp("cache"))


def test_it_restores_sentences_of_both_languages_and_translates_none(small: Path) -> None:
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(small).eval(), load_tokenizer(small)
    rows = synthetic.rows("sentence_pairs", "validation")
    texts = {ENGLISH: [row[0] for row in rows.texts], GERMAN: rows.targets}

    def loss(source: str, target: str) -> float:
        """Per token of the sentences in the language `target`, after those in `source`; guessing costs about 5."""
        tokenizer.src_lang, tokenizer.tgt_lang = source, target
        read = tokenizer(texts[source], padding=True, return_tensors="pt")
        labels = tokenizer(text_target=texts[target], padding=True, return_tensors="pt").input_ids
        labels = labels.masked_fill(labels == tokenizer.pad_token_id, -100)
        with torch.inference_mode():
            return float(model(input_ids=read.input_ids, attention_mask=read.attention_mask, labels=labels).loss)

    assert loss(ENGLISH, ENGLISH) < 0.5
    assert loss(GERMAN, GERMAN) < 0.5
    assert loss(ENGLISH, GERMAN) > 2


def test_known_words_are_one_token_and_others_are_spelled(small: Path) -> None:
    tokenizer: Any = load_tokenizer(small)
    tokenizer.src_lang = GERMAN
    ids = tokenizer("Im Dorf kaufte der Bäcker ein kleines Boot.").input_ids
    assert ids[0] == tokenizer.convert_tokens_to_ids(GERMAN)
    assert len(ids) == 1 + 8 + 2  # the language, the words, the full stop and the end
    unknown = "Zwei Männer (alt) überqueren die Straße?"
    assert tokenizer.decode(tokenizer(unknown).input_ids, skip_special_tokens=True).strip() == unknown


@pytest.mark.long  # the whole model is trained first
def test_an_adapter_learns_to_translate(tmp_path: Path) -> None:
    """A repeated source has a BLEU of 0.1 of 100, and the best of all constant translations one of 11."""
    lab = Lab(tmp_path / "cache", Path(), "translation")
    cell = lab.prepare(load_study("translation").find("multi30k_en_de", "adalora", "small", 0))
    out = tmp_path / "study" / "cell"
    assert lab.train(cell, out, every=None) == 0
    record = record_of(out)
    assert record.metrics["validation"]["last"]["bleu"] > 0.5
    assert record.evaluation.settings["languages"] == {"source": ENGLISH, "target": GERMAN}
