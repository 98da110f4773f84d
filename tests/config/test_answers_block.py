"""The block `answers`, and what the kind means to backbones that other kinds share."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bench.config.resolve import load_study
from bench.config.task import Task

QUESTIONS: dict[str, Any] = {
    "name": "own",
    "kind": "question-answering",
    "data": {"hub": "a/b", "columns": {"text": ["question", "context"], "target": "answers"}},
    "metrics": ["exact_match", "f1"],
}
CLASSES = {"kind": "classification", "labels": ["no", "yes"], "metrics": ["accuracy"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({**CLASSES, "answers": {"stride": 8}}, "a classification task finds no answers in a text: remove the block"),
        ({"data": {"hub": "a/b", "columns": {"text": ["context"], "target": "a"}}}, "question and context, got"),
        ({"metrics": ["accuracy"]}, "'accuracy' is no metric of question-answering"),
        ({"metrics": ["f1", "evaluate:squad"]}, "'evaluate:squad': answers are not given to modules of `evaluate`"),
        ({"answers": {"threshold": 1.0}}, "answers.threshold has no effect without `no_answer: true`"),
        ({"labels": ["no", "yes"]}, "a question-answering task has no labels"),
    ],
)
def test_what_does_not_go_with_questions(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Task.model_validate({**QUESTIONS, **changes})


def test_the_defaults_are_those_of_the_published_code() -> None:
    found = Task.model_validate(QUESTIONS).answering
    assert (found.stride, found.n_best, found.max_tokens, found.no_answer, found.threshold) == (128, 20, 30, False, 0)


def test_cells_of_other_kinds_keep_their_hash_when_their_backbone_serves_questions() -> None:
    cell = load_study("demo").find("sst2", "lora", "small", 0)
    before = {"kinds": ["classification", "regression"], "head": ["pooler", "classifier"]}
    assert (cell.backbone.kinds, cell.backbone.head) != tuple(before.values())
    alone = cell.model_copy(update={"backbone": cell.backbone.model_copy(update=before)})
    assert alone.spec_hash == cell.spec_hash
    (asked, _) = load_study("questions").cells
    other = asked.model_copy(update={"backbone": asked.backbone.model_copy(update={"head": ["pooler"]})})
    assert other.spec_hash != asked.spec_hash
