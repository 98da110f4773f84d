"""Segment ids (`token_type_ids`): which of the two texts of a row a token belongs to, where the model is told."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.model_classes import built
from bench.paths import MODEL_CONFIG

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEGMENT_IDS = "token_type_ids"  # the name that transformers gives them, in a tokenizer's output and in `forward`


def has_segments(task: Task, tokenizer: PreTrainedTokenizerBase, model: Path) -> bool:
    """Whether rows of `task` carry segment ids for the model whose config.json is in the folder `model`.

    They do where the tokenizer makes them, the model's `forward` takes them, and they make a difference: not where
    there is one segment at most (type_vocab_size 1 in RoBERTa, 0 in DeBERTa-v3), and not where all ids would be 0,
    which is what BERT assumes without them. Raises BenchError where the tokenizer numbers more segments than the model
    has.
    """
    if task.facts.family == "decoder":  # a prompt is one text
        return False
    texts = 2 if task.facts.target == "option" else len(task.data.columns.text)  # a text and an option
    made = tokenizer(*["a"] * texts).get(SEGMENT_IDS)
    if made is None:
        return False
    try:
        return _has_segments(task, made, model)
    except BenchError:
        raise
    except Exception as error:  # what stands in a config may raise anything
        said = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
        raise BenchError(f"{model / MODEL_CONFIG}: describes no model: {said}") from error


def _has_segments(task: Task, made: Sequence[int], model: Path) -> bool:
    config = _config(model)
    segments = getattr(config, "type_vocab_size", None)  # None: the model embeds segments in another way, as XLNet does
    if segments is not None and (segments < 2 or not any(made)):
        return False
    if not _takes_segments(task, config):
        return False
    if segments is not None and max(made) >= segments:
        raise BenchError(
            f"{model}: the tokenizer gives segment id {max(made)}, but the model has {segments} segments "
            "(type_vocab_size in config.json)"
        )
    return True


def _config(model: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)


def _takes_segments(task: Task, config: Any) -> bool:
    """Whether the model of that config for that kind of task has a parameter for segment ids."""
    import torch

    with torch.device("meta"):
        model = built(config, task.kind)
    return SEGMENT_IDS in inspect.signature(model.forward).parameters
