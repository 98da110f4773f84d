"""What a model predicts for the rows of one batch, by the kind of task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.config.metric_facts import OF_LIKELIHOODS
from bench.config.task import Task
from bench.evaluation.continuations import continue_prompts
from bench.evaluation.generation import generate_texts
from bench.evaluation.loss import row_loglikelihoods, target_loglikelihoods, task_loss
from bench.evaluation.perplexity import LOGLIKELIHOOD, TOKENS
from bench.evaluation.spans import window_answer
from bench.inputs.collate import Collator
from bench.inputs.prompts import OPTION_CHARACTERS, OPTION_LENGTHS

# Columns of a multiple-choice task's predictions: the log-likelihood of each option, in nats, and the option that is
# best by log-likelihood per character.
LOGLIKELIHOODS, NORMALIZED = "loglikelihoods", "prediction_normalized"


@dataclass(frozen=True)
class Predicted:
    """The predictions of some rows: a class, a number, a text, the index of an option or a `WindowAnswer` per row.

    Where the task writes no texts, as for perplexity alone, it is the log-likelihood of the target text.

    `loss` is the task's own: their mean, over rows or target tokens. `details` are further values per row, by name.
    """

    values: list[Any]
    loss: float
    details: dict[str, list[Any]] = field(default_factory=dict)


Predictor = Callable[[Any, Task, Collator, Sequence[int], Any], Predicted]


def predict_rows(model: Any, task: Task, collate: Collator, rows: Sequence[int], tokenizer: Any) -> Predicted:
    """What `model` predicts for the rows at these indices of the collator's split, in one batch."""
    return _PREDICTORS[task.facts.target, task.facts.family](model, task, collate, rows, tokenizer)


def _classes(model: Any, task: Task, collate: Collator, rows: Sequence[int], _: Any) -> Predicted:
    loss, logits = task_loss(model, collate(rows), task.kind)
    # argmax would call the place of the first NaN a class.
    return Predicted(logits.argmax(-1).masked_fill(logits.isnan().any(-1), -1).tolist(), float(loss))


def _numbers(model: Any, task: Task, collate: Collator, rows: Sequence[int], _: Any) -> Predicted:
    loss, logits = task_loss(model, collate(rows), task.kind)
    return Predicted(logits.squeeze(-1).tolist(), float(loss))


def _texts(model: Any, task: Task, collate: Collator, rows: Sequence[int], tokenizer: Any) -> Predicted:
    batch = collate(rows)
    texts: list[Any] = []
    if task.generates:
        texts, loss, logits = generate_texts(model, task, batch, tokenizer)
    else:
        mean_loss, logits = task_loss(model, batch, task.kind)
        loss = float(mean_loss)
    if OF_LIKELIHOODS.isdisjoint(task.metrics):
        return Predicted(texts, loss)
    found = row_loglikelihoods(logits, batch.targets).double().tolist()
    tokens = [collate.split.target_lengths[i] for i in rows]
    return Predicted(texts or found, loss, {LOGLIKELIHOOD: found, TOKENS: tokens})


def _continuations(model: Any, task: Task, collate: Collator, rows: Sequence[int], tokenizer: Any) -> Predicted:
    batch = collate(rows)
    found = target_loglikelihoods(model, batch).double().cpu()
    texts = continue_prompts(model, task, batch, tokenizer) if task.generates else found.tolist()
    tokens = [collate.split.target_lengths[i] for i in rows]
    return Predicted(texts, -float(found.sum()) / sum(tokens), {LOGLIKELIHOOD: found.tolist(), TOKENS: tokens})


def _options(model: Any, task: Task, collate: Collator, rows: Sequence[int], _: Any) -> Predicted:  # noqa: ARG001
    """The option of the highest log-likelihood, as published for ARC and others by the lm-evaluation-harness.

    An option that is NaN makes its row -1, which is no option.
    """
    more = collate.split.more
    batches = collate.options(rows, len(rows))
    found = torch.cat([target_loglikelihoods(model, batch) for batch in batches]).double().cpu()
    by_row = found.split([len(more[OPTION_LENGTHS][i]) for i in rows])
    per_character = [row / torch.tensor(more[OPTION_CHARACTERS][i]) for row, i in zip(by_row, rows, strict=True)]
    right = [float(row[collate.split.targets[i]]) for row, i in zip(by_row, rows, strict=True)]
    tokens = sum(collate.split.target_lengths[i] for i in rows)
    return Predicted(
        [_best(row) for row in by_row],
        -sum(right) / tokens,
        {LOGLIKELIHOODS: [row.tolist() for row in by_row], NORMALIZED: [_best(row) for row in per_character]},
    )


def _spans(model: Any, task: Task, collate: Collator, rows: Sequence[int], _: Any) -> Predicted:
    batch = collate(rows)
    loss, logits = task_loss(model, batch, task.kind)
    # Once for the batch: to cut each row where it is would wait for the device twice per row.
    found, is_token = logits.cpu().numpy(), batch.inputs["attention_mask"].bool().cpu().numpy()
    own = [of_row[:, kept] for of_row, kept in zip(found, is_token, strict=True)]
    windows = [window_answer(collate.split, i, of_row, task.answering) for i, of_row in zip(rows, own, strict=True)]
    return Predicted(windows, float(loss))


def _best(scores: torch.Tensor) -> int:
    return -1 if bool(scores.isnan().any()) else int(scores.argmax())


_PREDICTORS: dict[tuple[str, str], Predictor] = {
    ("class", "encoder"): _classes,
    ("option", "encoder"): _classes,
    ("number", "encoder"): _numbers,
    ("text", "encoder-decoder"): _texts,
    ("class", "encoder-decoder"): _texts,
    ("text", "decoder"): _continuations,
    ("option", "decoder"): _options,
    ("span", "encoder"): _spans,
}
