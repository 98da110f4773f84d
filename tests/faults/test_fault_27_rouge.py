"""Fault 27: ROUGE-L and ROUGE-Lsum are both there, with values worked out by hand, and the plain mean of rows."""

from __future__ import annotations

import pytest
from helpers.small_cells import Lab
from rouge_score.rouge_scorer import RougeScorer

from bench.config.task import Task
from bench.evaluation.metrics import score
from bench.evaluation.rouge import rouge_rows
from bench.inputs import synthetic

# one line each: 4 of 5 words in the reference's order, 3 of 4 word pairs at "a b" "c d" broken
REFERENCE = "police arrested the man .\nhe was armed ."
SWAPPED = "he was armed .\npolice arrested the man ."

ABOUT = Task(
    name="t",
    kind="summarization",
    data={"hub": "a/b", "columns": {"text": ["t"], "target": "y"}},
    metrics=["rouge1", "rouge2", "rougeL", "rougeLsum"],
    generation={},
)


def row_of(prediction: str, reference: str) -> dict[str, float]:
    return {metric: scores[0] for metric, scores in rouge_rows(ABOUT, [prediction], [reference]).items()}


def test_lsum_takes_a_line_as_a_sentence_and_l_does_not() -> None:
    """The same two sentences in the other order: Lsum finds both, L only the longer one (4 of 7 words)."""
    row = row_of(SWAPPED, REFERENCE)
    assert row["rouge1"] == 1.0
    assert row["rouge2"] == pytest.approx(5 / 6)  # only the pair across the sentences is lost
    assert row["rougeL"] == pytest.approx(4 / 7)
    assert row["rougeLsum"] == 1.0


def test_a_text_of_one_line_is_split_into_its_sentences() -> None:
    row = row_of(SWAPPED.replace("\n", " "), REFERENCE)
    assert row["rougeLsum"] == 1.0
    assert row["rougeL"] == pytest.approx(4 / 7)


def test_the_mean_is_plain(summaries: Lab) -> None:
    task = summaries.cell().task
    found = score(task, ["a b c d", ""], ["a b c d", "a b"])
    assert found == {"rouge1": 0.5, "rouge2": 0.5, "rougeL": 0.5, "rougeLsum": 0.5}
    assert set(found) == {"rouge1", "rouge2", "rougeL", "rougeLsum"}


def test_stemmed_f1() -> None:
    row = row_of("the cats were running", "the cat runs")  # the, cat, run of 4 and of 3 words
    assert row["rouge1"] == pytest.approx(2 * 3 / 7)


def test_as_the_package_says_of_every_pair() -> None:
    """Words are stemmed once here; the package stems each again."""
    articles = synthetic.rows("articles", "train")
    texts, references = [row[0] for row in articles.texts[:40]], articles.targets[:40]
    plain = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    rows = rouge_rows(ABOUT, texts, references)
    said = [plain.score(reference, text) for text, reference in zip(texts, references, strict=True)]
    for metric in ("rouge1", "rouge2", "rougeL"):
        assert rows[metric] == [scores[metric].fmeasure for scores in said]
