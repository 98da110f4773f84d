"""The tiny mBART: it knows both languages and no translation, and adapters learn that within the study's few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_cells import Lab, record_of
from transformers import AutoModelForSeq2SeqLM

from bench.config.catalog import load_catalog
from bench.config.resolve import load_study
from bench.inputs import synthetic
from bench.inputs.backbones import prepare_backbone
from bench.inputs.reader import load_tokenizer

pytestmark = pytest.mark.long  # the model is trained first
ENGLISH, GERMAN = "en_XX", "de_DE"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    backbone = load_catalog().backbones["tiny-mbart"].item
    return prepare_backbone(backbone, mirror=None, cache=tmp_path_factory.mktemp("cache"))


def test_it_restores_sentences_of_both_languages_and_translates_none(prepared: Path) -> None:
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(prepared).eval(), load_tokenizer(prepared)
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

    assert loss(ENGLISH, ENGLISH) < 0.1
    assert loss(GERMAN, GERMAN) < 0.1
    assert loss(ENGLISH, GERMAN) > 1


def test_known_words_are_one_token_and_others_are_spelled(prepared: Path) -> None:
    tokenizer: Any = load_tokenizer(prepared)
    tokenizer.src_lang = GERMAN
    ids = tokenizer("Im Dorf kaufte der Bäcker ein kleines Boot.").input_ids
    assert ids[0] == tokenizer.convert_tokens_to_ids(GERMAN)
    assert len(ids) == 1 + 8 + 2  # the language, the words, the full stop and the end
    unknown = "Zwei Männer (alt) überqueren die Straße?"
    assert tokenizer.decode(tokenizer(unknown).input_ids, skip_special_tokens=True).strip() == unknown


def test_an_adapter_learns_to_translate(tmp_path: Path) -> None:
    """A repeated source has a BLEU of 0.1 of 100, and the best of all constant translations one of 11."""
    lab = Lab(tmp_path / "cache", Path(), "translation")
    cell = lab.prepare(load_study("translation").find("multi30k_en_de", "adalora", "small", 0))
    out = tmp_path / "study" / "cell"
    assert lab.train(cell, out, every=None) == 0
    record = record_of(out)
    assert record.metrics["validation"]["last"]["bleu"] > 0.5
    assert record.evaluation["languages"] == {"source": ENGLISH, "target": GERMAN}
