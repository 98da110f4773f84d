"""Translations: the languages of multilingual models, BLEU and chrF as sacrebleu computes them, and their records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_models import save_tokenizer_of_words
from pydantic import ValidationError
from sacrebleu.metrics import BLEU, CHRF
from sentencepiece import SentencePieceTrainer
from transformers import (
    M2M100Tokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbTokenizer,
    T5Config,
    T5ForConditionalGeneration,
)

from bench.config.backbone import Backbone
from bench.config.catalog import load_catalog
from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.errors import BenchError
from bench.evaluation.evaluate import evaluate
from bench.evaluation.loss import task_loss
from bench.inputs import synthetic
from bench.inputs.backbones import prepare_backbone
from bench.inputs.collate import Collator
from bench.inputs.datasets import open_data, prepare_task
from bench.inputs.languages import first_token, languages_of, set_languages
from bench.inputs.reader import load_tokenizer

ROWS = 12
MATRICES = {"mbart": ["q_proj", "v_proj"], "t5": ["q", "v"]}


def task(**changes: Any) -> Task:
    known = load_catalog().tasks["multi30k_en_de"].item.model_dump()
    known |= {"generation": {"beams": 2, "max_length": 12}, "recipe": {"max_length": 32, "max_target_length": 32}}
    return Task.model_validate({**known, **changes})


def pieces() -> list[str]:
    """The words of the first sentences and of their translations, as SentencePiece writes them."""
    rows = synthetic.rows("sentence_pairs", "train")
    texts = [text for pair in zip(rows.texts[:ROWS], rows.targets, strict=False) for text in (*pair[0], pair[1])]
    return [f"▁{word}" for word in sorted({word for text in texts for word in text.split()})]


def multilingual(kind: type, **options: Any) -> Any:
    """A tokenizer of that class with the words of `pieces`."""
    if kind is NllbTokenizer:
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        letters = sorted({letter for piece in pieces() for letter in piece})
        return kind(vocab={token: i for i, token in enumerate([*special, *letters])}, merges=[], **options)
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return kind(vocab=[*special, *((piece, -2.0) for piece in pieces()), ("en_XX", 0.0), ("de_DE", 0.0)], **options)


def small_mbart(vocabulary: int) -> MBartConfig:
    """One layer whose random weights are large enough that texts depend on their sources."""
    layers = {f"{side}_{what}": 1 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64}
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    return MBartConfig(vocab_size=vocabulary, init_std=0.5, **sizes, **layers, **ids)


def save_model(folder: Path, family: str) -> None:
    """Save a random model of that family, and its tokenizer."""
    torch.manual_seed(0)
    if family == "mbart":
        tokenizer = multilingual(MBart50Tokenizer, src_lang="fr_XX", tgt_lang="fr_XX")
        tokenizer.save_pretrained(folder)
        model: Any = MBartForConditionalGeneration(small_mbart(len(tokenizer)))
        model.generation_config.forced_bos_token_id = tokenizer.convert_tokens_to_ids("fr_XX")
    else:
        save_tokenizer_of_words(folder, "sentence_pairs")
        ids = {"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}
        sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
        model = T5ForConditionalGeneration(T5Config(vocab_size=300, **sizes, **ids))
    model.save_pretrained(folder)


@pytest.mark.parametrize("family", ["mbart", "t5"])
def test_one_task_serves_models_with_and_without_languages(tmp_path: Path, family: str) -> None:
    save_model(tmp_path / family, family)
    about = task()
    backbone = Backbone(name=family, path=str(tmp_path / family), kinds=["translation"], matrices=MATRICES[family])
    choice = DataChoice(source="embedded", train_rows=ROWS, evaluation_rows=ROWS)
    folder = prepare_backbone(backbone, mirror=None, cache=tmp_path)
    data = open_data(prepare_task(about, backbone, choice, mirror=None, cache=tmp_path))
    tokenizer = load_tokenizer(folder)
    split = data.evaluation["validation"]
    model: Any = (MBartForConditionalGeneration if family == "mbart" else T5ForConditionalGeneration).from_pretrained(
        folder
    )
    batch = Collator(split, "translation", tokenizer, torch.device("cpu"))(range(ROWS))
    with torch.inference_mode():
        ours = task_loss(model.eval(), batch, "translation")[0]
        theirs = model(**batch.inputs, labels=batch.targets).loss
    torch.testing.assert_close(ours, theirs)

    found = evaluate(model, about, {"validation": split}, tokenizer, 8, torch.device("cpu"))
    settings, texts = found.settings, found.predictions["validation"]
    references = split.targets[:]
    assert found.metrics["validation"] == {
        "bleu": BLEU(force=True).corpus_score(texts, [references]).score / 100,
        "chrf": CHRF().corpus_score(texts, [references]).score / 100,
    }
    assert set(settings["sacrebleu"]) == {"bleu", "chrf"}
    assert all("version:" in signature for signature in settings["sacrebleu"].values())
    sources, labels = batch.inputs["input_ids"], batch.targets
    if family == "t5":
        assert "languages" not in settings
        assert "forced_bos_token_id" not in settings["generation"]
        return
    english, german = tokenizer.convert_tokens_to_ids(["en_XX", "de_DE"])
    assert sources[:, 0].tolist() == [english] * ROWS
    assert labels[:, 0].tolist() == [german] * ROWS
    assert settings["languages"] == {"source": "en_XX", "target": "de_DE"}
    assert settings["generation"]["forced_bos_token_id"] == german  # not the French of the checkpoint
    assert settings["generation_overruled"]["forced_bos_token_id"] == tokenizer.convert_tokens_to_ids("fr_XX")
    ids = model.generate(**batch.inputs, num_beams=2, max_length=12, forced_bos_token_id=german, early_stopping=True)
    assert [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)] == texts


@pytest.mark.parametrize(
    ("kind", "codes"), [(MBart50Tokenizer, ("en_XX", "de_DE")), (NllbTokenizer, ("eng_Latn", "deu_Latn"))]
)
def test_of_several_codes_a_tokenizer_gets_its_own(kind: type, codes: tuple[str, str]) -> None:
    tokenizer = multilingual(kind)
    set_languages(task(), tokenizer)
    assert languages_of(task(), tokenizer) == codes
    source, target = (tokenizer.convert_tokens_to_ids(code) for code in codes)
    assert tokenizer("a")["input_ids"][0] == source
    assert tokenizer(text_target="a")["input_ids"][0] == target == first_token(task(), tokenizer)


def test_a_tokenizer_of_sentencepiece_alone_is_kept_as_it_is(tmp_path: Path) -> None:
    """M2M100's has no form as tokenizer.json, and tokens such as __de__ for its codes."""
    folder = tmp_path / "m2m"
    folder.mkdir()
    with (folder / "sentencepiece.bpe.model").open("wb") as file:
        texts = iter(synthetic.rows("sentence_pairs", "train").targets)
        SentencePieceTrainer.train(sentence_iterator=texts, model_writer=file, vocab_size=70, minloglevel=2)
    names = ["<s>", "<pad>", "</s>", "<unk>", *pieces()]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    M2M100Tokenizer(folder / "vocab.json", folder / "sentencepiece.bpe.model").save_pretrained(folder)
    MBartForConditionalGeneration(small_mbart(len(names) + 110)).save_pretrained(folder)
    backbone = Backbone(name="m2m", path=str(folder), kinds=["translation"], matrices=["q_proj"])
    choice = DataChoice(source="embedded", train_rows=ROWS, evaluation_rows=ROWS)
    tokenizer = load_tokenizer(prepare_backbone(backbone, mirror=None, cache=tmp_path))
    split = open_data(prepare_task(task(), backbone, choice, mirror=None, cache=tmp_path)).train
    assert languages_of(task(), tokenizer) == ("en", "de")
    assert {int(ids[0]) for ids in split.input_ids} == {tokenizer.convert_tokens_to_ids("__en__")}
    assert {int(ids[0]) for ids in split.label_ids} == {first_token(task(), tokenizer)}
    assert tokenizer.decode(split.label_ids[0], skip_special_tokens=True).strip()


def test_a_code_that_a_tokenizer_lacks_is_refused_with_the_nearest() -> None:
    tokenizer = multilingual(MBart50Tokenizer)
    with pytest.raises(BenchError, match=r"languages\.target: .* no language 'de_XX' \(did you mean 'de_DE'\?\)"):
        set_languages(task(languages={"source": "en_XX", "target": "de_XX"}), tokenizer)
    with pytest.raises(BenchError, match=r"languages\.source: .* no language 'en' or 'eng' \(valid: en_XX\)"):
        set_languages(task(languages={"source": ["en", "eng"], "target": "de_DE"}), tokenizer)


def test_a_tokenizer_with_languages_needs_them() -> None:
    with pytest.raises(BenchError, match=r"the task needs `languages` with the codes of `source` and `target`"):
        set_languages(task(languages=None), multilingual(MBart50Tokenizer))


def test_a_language_behind_the_text_is_refused() -> None:
    with pytest.raises(BenchError, match="MBartTokenizer writes the language behind a text"):
        set_languages(task(), multilingual(MBartTokenizer))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "summarization"}, "languages: a summarization task translates nothing"),
        ({"metrics": ["chrf"], "bleu_tokenizer": "zh"}, "no bleu among the metrics"),
        ({"metrics": ["rouge1"]}, "'rouge1' is no metric of translation"),
    ],
)
def test_what_does_not_go_with_a_translation_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**changes)


def test_chinese_needs_a_tokenizer_of_its_own() -> None:
    from bench.evaluation.metrics import score

    texts, references = ["今天天气很好。"], ["今天天气好。"]
    words, letters = (
        score(task(metrics=["bleu"], bleu_tokenizer=name), texts, references)["bleu"] for name in ("13a", "zh")
    )
    assert words == 0
    assert letters is not None
    assert letters > 0.3
