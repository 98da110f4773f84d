"""Evaluate a model on the splits of its task: predictions, loss and metrics.

Rows are sorted by length, so that a batch holds little padding, and predicted in inference mode in batches larger than
those of training. A batch that does not fit in memory is halved. Predictions come back in the order of the rows.
"""

from __future__ import annotations

import gc
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import torch

from bench.config.task import Task
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.evaluation.corpus_scores import signatures
from bench.evaluation.evaluate_modules import score_with_modules
from bench.evaluation.generation_settings import generation_settings, overruled_settings, warn_once
from bench.evaluation.loss import loss_weight
from bench.evaluation.metrics import mean_of_rows, own_rows, score_together
from bench.evaluation.perplexity import LOGLIKELIHOOD, TOKENS, perplexity, perplexity_of_loss
from bench.evaluation.predictors import NORMALIZED, Predicted, predict_rows
from bench.evaluation.rouge import dropped, rouge_metrics
from bench.evaluation.spans import example_answers
from bench.inputs.collate import Collator
from bench.inputs.languages import languages_of
from bench.inputs.reference_answers import without_answer
from bench.inputs.splits import Split

# How the allocators of the host and of the device word that memory ran out, where they raise a plain RuntimeError.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


@dataclass
class Evaluated:
    """What an evaluation found, by split. `batch_size` is the last one, `halvings` how often memory ran out."""

    batch_size: int
    halvings: int = 0
    # Fractions, or a perplexity; None where a metric is undefined, such as the correlation of constants.
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    # The task's own loss: the mean over rows, or over target tokens where the model generates. None: not finite.
    loss: dict[str, float | None] = field(default_factory=dict)
    predictions: dict[str, list[Any]] = field(default_factory=dict)
    # What else was found of each row, by name, such as the log-likelihoods of its options.
    details: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    # By metric, the score of each row, for metrics that are means over rows which predictions alone don't give (ROUGE).
    scores: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    # What else decided the numbers, for the record: how texts were generated, and how they were compared.
    settings: dict[str, Any] = field(default_factory=dict)

    # What a reader of the numbers should know.
    notes: list[str] = field(default_factory=list)

    @property
    def for_record(self) -> dict[str, Any]:
        """The field `evaluation` of the record."""
        return {"batch_size": self.batch_size, "halvings": self.halvings, **self.settings}


@dataclass(frozen=True)
class Predictions:
    """The predictions of one split: a class, number, text or option per example, and the mean loss of its rows."""

    values: list[Any]
    loss: float
    batch_size: int
    halvings: int = 0
    details: dict[str, list[Any]] = field(default_factory=dict)


def evaluate(
    model: Any,
    task: Task,
    splits: Mapping[str, Split],
    tokenizer: Any,
    batch_size: int,
    device: torch.device,
    check: Callable[[str, int], None] = lambda _split, _rows_done: None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Evaluated:
    """Evaluate all `splits` in order. A batch size that had to be halved stays halved for the splits that follow.

    The processes of the group share the batches, and all of them return the same. `check` is called with the split and
    the number of rows that are done before each batch, and may raise to stop. Raises BenchError where a metric fails.
    """
    result = Evaluated(batch_size)
    if task.generates:
        result.settings |= _generation_of(task, model, tokenizer, warn=process_group.is_main)
    for name, split in splits.items():
        predicted = predict(
            model, task, split, tokenizer, result.batch_size, device, partial(check, name), process_group
        )
        result.batch_size, result.halvings = predicted.batch_size, result.halvings + predicted.halvings
        result.predictions[name], result.details[name] = predicted.values, predicted.details
        result.loss[name] = predicted.loss if math.isfinite(predicted.loss) else None
        references = split.examples.targets
        result.metrics[name], result.scores[name] = score_rows(task, predicted.values, references, predicted.details)
    if task.kind == "causal-lm":
        perplexities = {name: perplexity_of_loss(loss) for name, loss in result.loss.items()}
        result.settings["perplexity"] = perplexities
    if rouge_metrics(task):
        losses = {name: dropped(task, split.targets) for name, split in splits.items()}
        result.settings["rouge"] = {
            "tokenizer": task.rouge_tokenizer,
            "dropped": {name: asdict(loss) for name, loss in losses.items()},
        }
        result.notes += [
            f"{name}: {loss.warning(task.rouge_tokenizer)}" for name, loss in losses.items() if loss.too_much
        ]
    for name, split in splits.items():
        if lacking := without_answer(task, split.targets):
            what = f"`extract` finds no answer in {lacking:,} of {len(split):,} references"
            result.notes.append(f"{name}: {what}: no prediction is right there")
    if found := signatures(task):
        result.settings["sacrebleu"] = found
    if process_group.is_main:
        for note in result.notes:
            warn_once(note)
    return result


def _generation_of(task: Task, model: Any, tokenizer: Any, *, warn: bool) -> dict[str, Any]:
    """For the record: what decides the texts, and what the checkpoint says otherwise, in vain."""
    overruled = overruled_settings(task, model, tokenizer)
    if overruled and warn:
        said = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in overruled.items())
        warn_once(
            f"the checkpoint's generation_config says {said}: not used, since the task's file decides how texts are "
            "generated (the block `generation`)"
        )
    about = {"generation": generation_settings(task, model, tokenizer), "generation_overruled": overruled}
    codes = languages_of(task, tokenizer)
    return about if codes is None else {**about, "languages": dict(zip(("source", "target"), codes, strict=True))}


def score_rows(
    task: Task,
    predictions: Sequence[Any],
    references: Sequence[Any],
    details: Mapping[str, Sequence[Any]] = MappingProxyType({}),
) -> tuple[dict[str, float | None], dict[str, list[float]]]:
    """Every metric of `task`, and the score of each row for those that are means over rows.

    Predictions and references are those of a split: classes, numbers, texts, options or answers; `details` is what
    else was found of its rows. A metric of the second result is the mean of its rows. Raises BenchError where a module
    of `evaluate` fails.
    """
    if task.kind == "text-label":
        predictions, references = as_classes(task, predictions), as_classes(task, references)
    rows = own_rows(task, predictions, references)
    together = score_together(task, predictions, references)
    if "perplexity" in task.metrics:
        together["perplexity"] = perplexity(details[LOGLIKELIHOOD], details[TOKENS])
    if "accuracy_normalized" in task.metrics:
        pairs = zip(details[NORMALIZED], references, strict=True)
        rows["accuracy_normalized"] = [float(found == right) for found, right in pairs]
    values = {**mean_of_rows(rows), **together}
    for metric, scored in score_with_modules(task, predictions, references).items():
        values[metric] = scored.value
        if scored.rows is not None:
            rows[metric] = scored.rows
    return {metric: values[metric] for metric in task.metrics}, {m: rows[m] for m in task.metrics if m in rows}


def predict(
    model: Any,
    task: Task,
    split: Split,
    tokenizer: Any,
    batch_size: int,
    device: torch.device,
    check: Callable[[int], None] = lambda _: None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Predictions:
    """Predict every example of `split`; each process takes a part of the batches of rows, and all return the same.

    Where memory runs out the batch is halved; a single row that does not fit raises. `check` is called with the number
    of rows that are done before each batch, and may raise to stop. The model is left in the mode it was in.
    """
    collate = Collator(split, task.kind, tokenizer, device)
    # The longest rows come first: if memory runs out, it does so at once and not at the end.
    by_length = split.longest_first()
    starts = process_group.shard(range(0, len(split), batch_size))
    order = [i for start in starts for i in by_length[start : start + batch_size]]
    values: dict[int, Any] = {}
    details: dict[str, dict[int, Any]] = {}
    loss, weight, halvings, done = 0.0, 0, 0, 0
    was_training = model.training
    model.eval()
    try:
        while done < len(order):
            check(done)
            rows = order[done : done + batch_size]
            predicted = _predict_batch(model, task, collate, rows, tokenizer, last=batch_size == 1)
            if predicted is None:
                batch_size, halvings = batch_size // 2, halvings + 1
                release_memory()
                continue
            values.update(zip(rows, predicted.values, strict=True))
            for name, found in predicted.details.items():
                details.setdefault(name, {}).update(zip(rows, found, strict=True))
            batch_weight = loss_weight(split, rows, task.kind)
            loss, weight = loss + predicted.loss * batch_weight, weight + batch_weight
            done += len(rows)
    finally:
        model.train(was_training)
    joined = _join(process_group.all_gather_object(_Part(values, details, loss, weight, batch_size, halvings)))
    if task.facts.target != "span":
        return joined
    texts, of_examples = example_answers(split, joined.values, task.answering)
    return replace(joined, values=texts, details=of_examples)


@dataclass(frozen=True)
class _Part:
    """What one process predicted: values and details by row, and the summed loss of `weight` rows or tokens."""

    values: dict[int, Any]
    details: dict[str, dict[int, Any]]
    loss: float
    weight: int
    batch_size: int
    halvings: int


def _join(parts: Sequence[_Part]) -> Predictions:
    values = {row: value for part in parts for row, value in part.values.items()}
    details: dict[str, dict[int, Any]] = {}
    for part in parts:
        for name, found in part.details.items():
            details.setdefault(name, {}).update(found)
    return Predictions(
        values=[values[row] for row in range(len(values))],
        details={name: [found[row] for row in range(len(found))] for name, found in details.items()},
        loss=sum(part.loss for part in parts) / sum(part.weight for part in parts),
        batch_size=min(part.batch_size for part in parts),
        halvings=max(part.halvings for part in parts),
    )


def as_classes(task: Task, texts: Sequence[str]) -> list[int]:
    """The class indices that generated label words stand for; -1 for a text that is no label."""
    index = {label: i for i, label in enumerate(task.labels)}
    return [index.get(text.strip(), -1) for text in texts]


def _predict_batch(
    model: Any, task: Task, collate: Collator, rows: Sequence[int], tokenizer: Any, *, last: bool
) -> Predicted | None:
    """The predictions and the mean loss of one batch. None where memory ran out and the batch can still be halved."""
    try:
        with torch.inference_mode():
            return predict_rows(model, task, collate, rows, tokenizer)
    except (RuntimeError, MemoryError) as error:
        if last or not is_out_of_memory(error):
            raise
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: that of a GPU, or on the CPU that of this process."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def release_memory() -> None:
    """Free what a failed batch held. Call it outside the `except` block, which keeps the frames of the error alive."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
