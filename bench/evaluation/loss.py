"""The loss of a task, computed in float32. A method's regularizer is no part of it (bench/engine)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from bench.config.kinds import KINDS
from bench.evaluation.generation_settings import decoder_start
from bench.inputs.collate import Batch
from bench.inputs.sequences import IGNORED
from bench.inputs.splits import Split


def task_loss(model: Any, batch: Batch, kind: str) -> tuple[Tensor, Tensor]:
    """The mean loss of a batch, [], and the logits.

    Classes: cross-entropy over rows, with logits [n, classes]; [n, most options], with -inf where a row has fewer, for
    options that an encoder scores. Numbers (regression): squared error, with logits [n, 1].
    Texts: cross-entropy over target tokens without padding, with logits [n, longest target, vocabulary]. Spans: the
    mean of the cross-entropies of start and end, over the tokens of a window, with logits [n, 2, longest window].
    """
    facts = KINDS[kind]
    if facts.target_tokens:
        logits = _decoder_logits(model, batch) if facts.family == "decoder" else _seq2seq_logits(model, batch)
        return functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED), logits
    if facts.target == "span":
        logits = _span_logits(model, batch)
        return functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()), logits
    logits = model(**batch.inputs).logits.float()
    if batch.sequences is not None:  # a score for each option: those of a row are its logits
        logits = pad_sequence(logits.squeeze(-1).split(batch.sequences), batch_first=True, padding_value=-torch.inf)
    if facts.target == "number":
        return functional.mse_loss(logits.squeeze(-1), batch.targets), logits
    return functional.cross_entropy(logits, batch.targets), logits


def _span_logits(model: Any, batch: Batch) -> Tensor:
    """The logits of start and end of every token, [n, 2, longest window].

    Models give some to padding too. A window's loss would then depend on the batch that it is in.
    """
    output = model(**batch.inputs)
    logits = torch.stack([output.start_logits, output.end_logits], dim=1).float()
    return logits.masked_fill(batch.inputs["attention_mask"][:, None] == 0, -torch.inf)


def loss_weight(split: Split, rows: Sequence[int], kind: str) -> int:
    """What the mean loss of a batch of these rows of `split` counts in a mean over more: its target tokens, or rows."""
    return sum(split.target_lengths[i] for i in rows) if KINDS[kind].target_tokens else len(rows)


def target_loglikelihoods(model: Any, batch: Batch) -> Tensor:
    """The log-likelihood of each row's target under a decoder, [n]: the sum over its tokens, in nats."""
    return row_loglikelihoods(_decoder_logits(model, batch), batch.targets)


def row_loglikelihoods(logits: Tensor, targets: Tensor) -> Tensor:
    """The log-likelihood of each row's target, [n]: the sum over its tokens, in nats.

    logits: [n, longest target, vocabulary], as `task_loss` returns them; targets: [n, longest target].
    """
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return -losses.view_as(targets).sum(dim=1)


def _decoder_logits(model: Any, batch: Batch) -> Tensor:
    """Logits of the places whose next token is one of the target, [n, longest target, vocabulary]."""
    inputs = {name: values for name, values in batch.inputs.items() if name in _arguments(model)}
    kept = batch.targets.shape[1] + 1  # the last one predicts what comes after the longest target
    if "logits_to_keep" in _arguments(model):
        logits: Tensor = model(**inputs, use_cache=False, logits_to_keep=kept).logits
    else:
        logits = model(**inputs, use_cache=False).logits[:, -kept:]
    return logits[:, :-1].float()


def _arguments(model: Any) -> frozenset[str]:
    """The names of the arguments that the model below PEFT's wrapper takes."""
    plain: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    return _arguments_of(plain.__class__)


@lru_cache(maxsize=64)
def _arguments_of(model_class: Any) -> frozenset[str]:
    return frozenset(inspect.signature(model_class.forward).parameters)


def _seq2seq_logits(model: Any, batch: Batch) -> Tensor:
    decoder_input_ids = _shifted_right(batch.targets, model)
    logits: Tensor = model(**batch.inputs, decoder_input_ids=decoder_input_ids, use_cache=False).logits
    return logits.float()


def _shifted_right(labels: Tensor, model: Any) -> Tensor:
    """The decoder's inputs, [n, longest target]: the start token, then the targets one place to the right.

    transformers would do the same if it were given the labels, but then it would compute its own loss too.
    """
    shifted = torch.full_like(labels, decoder_start(model))
    shifted[:, 1:] = labels[:, :-1]
    return shifted.masked_fill(shifted == IGNORED, model.config.pad_token_id)
