"""ROUGE of other scripts than Latin: equal texts score 1 as words, and what the default tokenizer drops is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.records import make_record, study_of
from pydantic import ValidationError
from rouge_score.rouge_scorer import RougeScorer

from bench.analysis.build import make_tables
from bench.config.cell import spec_hash_of
from bench.config.task import Task
from bench.evaluation.rouge import Dropped, WordTokenizer, dropped, rouge_rows
from bench.inputs import synthetic
from bench.records.io import write_record

RUSSIAN = "Полиция задержала мужчину. Он был вооружён."


def task(**changes: Any) -> Task:
    data = {"hub": "a/b", "columns": {"text": ["t"], "target": "y"}}
    metrics = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    about = {"name": "t", "kind": "summarization", "data": data, "metrics": metrics, "generation": {}}
    return Task.model_validate({**about, **changes})


WORDS = task(rouge_tokenizer="words")


def row(about: Task, prediction: str, reference: str) -> dict[str, float]:
    return {metric: scores[0] for metric, scores in rouge_rows(about, [prediction], [reference]).items()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Привет, МИР!", ["привет", "мир"]),
        ("Ёлка Е\u0308лка", ["ёлка", "ёлка"]),  # one character, or a letter and a mark
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("हिन्दी में लिखा है।", ["हिन्दी", "में", "लिखा", "है"]),  # vowel signs are marks within a word
        ("می\u200cخواهم بروم", ["میخواهم", "بروم"]),  # with a joiner, as some write it
        ("한국어 단어", ["한국어", "단어"]),
        ("今天很好。ＡＢＣ公司", ["今", "天", "很", "好", "abc", "公", "司"]),
        ("コーヒーを", ["コ", "ー", "ヒ", "ー", "を"]),
        ("สวัสดี ผม", ["ส", "วั", "ส", "ดี", "ผ", "ม"]),
        ("don't 1,000 snake_case", ["don", "t", "1", "000", "snake", "case"]),
        ("🎉 — …", []),
        ("", []),
    ],
)
def test_words_of_any_script(text: str, words: list[str]) -> None:
    assert WordTokenizer().tokenize(text) == words


@pytest.mark.parametrize("text", [RUSSIAN, "今天天气很好。我们去公园。", "मौसम अच्छा है। हम पार्क जाते हैं।"])
def test_equal_texts_score_one(text: str) -> None:
    assert row(WORDS, text, text) == dict.fromkeys(WORDS.metrics, 1.0)
    assert row(task(), text, text) == dict.fromkeys(WORDS.metrics, 0.0)


def test_scores_by_hand() -> None:
    found = row(WORDS, "Он был вооружён. Полиция задержала его.", RUSSIAN)
    assert found["rouge1"] == pytest.approx(5 / 6)
    assert found["rouge2"] == pytest.approx(3 / 5)  # on был, был вооружён, полиция задержала
    assert found["rougeL"] == pytest.approx(3 / 6)
    assert found["rougeLsum"] == pytest.approx(5 / 6)  # two sentences, each found where it stands
    chinese = row(WORDS, "我们去公园。今天很好。", "今天很好。我们去公园。")
    assert (chinese["rougeLsum"], chinese["rougeL"]) == (1.0, pytest.approx(5 / 9))


def test_latin_texts_have_the_words_of_rouge_score_without_a_stemmer() -> None:
    articles = synthetic.rows("articles", "train")
    texts, references = [row[0] for row in articles.texts[:20]], articles.targets[:20]
    plain = RougeScorer(["rouge1", "rouge2", "rougeL"])
    said = [plain.score(reference, text) for text, reference in zip(texts, references, strict=True)]
    found = rouge_rows(WORDS, texts, references)
    for metric in ("rouge1", "rouge2", "rougeL"):
        assert found[metric] == [scores[metric].fmeasure for scores in said]


@pytest.mark.parametrize(
    ("about", "references", "text", "rows", "too_much"),
    [
        (task(), ["abc def", "Don't!"], 2 / 12, 0, False),  # ' and ! of twelve characters
        (task(), ["abcд", "эюя"], 4 / 7, 1 / 2, True),
        (task(), ["abcdefghijkl", "дд"], 2 / 14, 1 / 2, True),  # few characters, but a row that can only score 0
        (task(), ["a"] * 100 + ["д"], 1 / 101, 1 / 101, False),
        (task(), ["", " "], 0, 0, False),
        (WORDS, ["эюя", "今天"], 0, 0, False),
        (WORDS, ["🎉🎉"], 1, 1, True),
    ],
)
def test_how_much_a_tokenizer_drops(
    about: Task, references: list[str], text: float, rows: float, too_much: bool
) -> None:
    found = dropped(about, references)
    assert (found.text, found.rows) == (pytest.approx(text), pytest.approx(rows))
    assert found.too_much == too_much


def test_empty_texts_score_zero() -> None:
    for about in (task(), WORDS):
        for prediction, reference in (("", "a b"), ("a b", ""), ("", ""), ("...", "...")):
            assert row(about, prediction, reference) == dict.fromkeys(about.metrics, 0.0)


def test_the_choice_is_refused_where_nothing_is_tokenized_and_changes_no_old_hash() -> None:
    with pytest.raises(ValidationError, match=r"rouge_tokenizer 'words': no ROUGE among the metrics"):
        task(metrics=["evaluate:chrf"], rouge_tokenizer="words")
    spec = next(cell for cell in study_of(1).cells if cell.task.generates).model_dump(mode="json")
    before = spec_hash_of(spec)
    assert spec_hash_of({**spec, "task": {**spec["task"], "rouge_tokenizer": "words"}}) != before
    del spec["task"]["rouge_tokenizer"]  # as a record from before the key has it
    assert spec_hash_of(spec) == before


@pytest.mark.parametrize("tokenizer", ["rouge-score", "words"])
def test_tables_say_which_tokenizer_and_what_it_dropped(tmp_path: Path, tokenizer: str) -> None:
    study = study_of(1, "tasks=[cnn_dailymail]", f"overrides.cnn_dailymail.rouge_tokenizer={tokenizer}")
    loss = Dropped(text=0.97, rows=1.0) if tokenizer == "rouge-score" else Dropped(text=0.02, rows=0.0)
    measured = {"tokenizer": tokenizer, "dropped": {"validation": {"text": loss.text, "rows": loss.rows}}}
    for cell in study.cells:
        values = dict.fromkeys(cell.task.metrics, 0.5)
        record = make_record(cell, {"validation": values}, evaluation={"rouge": measured})
        folder = tmp_path / study.name / "cells" / cell.id
        folder.mkdir(parents=True)
        write_record(record, folder)
    make_tables(study, tmp_path)
    table = (tmp_path / study.name / "tables/methods.md").read_text()
    assert ("97% of the references' text is dropped" in table) == (tokenizer == "rouge-score")
    assert ("ROUGE with the tokenizer words" in table) == (tokenizer == "words")
