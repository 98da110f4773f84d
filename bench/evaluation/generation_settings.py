"""What decides a generated text: the task's file, completely, and the token ids that a checkpoint was trained with.

`generate` of transformers fills every argument that is not given from the checkpoint's generation_config.json, such as
max_new_tokens or repetition_penalty. Texts of two checkpoints, or of a checkpoint before and after someone edits that
file, would then be written by different rules. So the model gets a config of ours for as long as it generates.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.languages import first_token

logger = logging.getLogger(__name__)

# These belong to the model and its tokenizer, as its weights do. Multilingual models force a language as first token.
TOKEN_IDS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
)
# What a checkpoint may say without any effect on a text that is generated here: how it is computed and returned.
_NO_EFFECT = {
    "_from_model_config",
    "cache_implementation",
    "compile_config",
    "disable_compile",
    "low_memory",
    "max_cache_len",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "prefill_chunk_size",
    "return_dict_in_generate",
    "transformers_version",
    "use_cache",
}
# Values that change nothing, of settings that no task's file has.
_OFF = {
    "temperature": 1.0,
    "top_k": 50,  # of sampling, as the next two
    "top_p": 1.0,
    "typical_p": 1.0,
    "encoder_repetition_penalty": 1.0,
    "diversity_penalty": 0.0,
    "num_beam_groups": 1,
}


def generation_settings(task: Task, model: Any, tokenizer: Any = None) -> dict[str, Any]:
    """The arguments of `generate`, by the names of transformers: those of the task's file, and the model's token ids.

    The decoder of an encoder-decoder starts with the token that training started with. A decoder by itself ends a text
    as it was trained to, with its `tokenizer`'s end. A translation begins with the token that the `tokenizer` has for
    its language, if it has any.
    """
    generation = task.generation
    assert generation is not None  # tasks that generate have the block, which the configuration checks
    ids = {name: getattr(model.generation_config, name, None) for name in TOKEN_IDS}
    for name in ("eos_token_id", "pad_token_id"):
        ids[name] = getattr(model.config, name, None) if ids[name] is None else ids[name]
    lengths: dict[str, Any] = {"max_length": generation.max_length, "min_length": generation.min_length}
    if task.facts.family == "decoder":
        ids |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        lengths = {"max_new_tokens": generation.max_length, "min_new_tokens": generation.min_length}
        lengths |= {"stop_strings": generation.stop} if generation.stop else {}
    else:
        language = first_token(task, tokenizer)
        ids |= {"decoder_start_token_id": decoder_start(model)}
        ids |= {} if language is None else {"forced_bos_token_id": language}
    return {
        "num_beams": generation.beams,
        **lengths,
        "length_penalty": generation.length_penalty,
        "no_repeat_ngram_size": generation.no_repeat_ngram,
        "repetition_penalty": generation.repetition_penalty,
        "early_stopping": generation.stops_early,
        "do_sample": False,
        "num_return_sequences": 1,
        **{name: value for name, value in ids.items() if value is not None},
    }


def decoder_start(model: Any) -> int:
    """The token that every text starts with, in training and in generation. Raises BenchError if there is none."""
    configs = (model.config, getattr(model, "generation_config", None))
    ids = (getattr(config, "decoder_start_token_id", None) for config in configs)
    start = next((token for token in ids if token is not None), None)
    if start is None:
        raise BenchError(
            "the backbone names no decoder_start_token_id, in config.json or generation_config.json: nothing says with "
            "which token its texts start"
        )
    return int(start)


def overruled_settings(task: Task, model: Any, tokenizer: Any = None) -> dict[str, Any]:
    """What the checkpoint says otherwise, by the names of transformers. It has no effect."""
    settings = generation_settings(task, model, tokenizer)
    overruled = {}
    for name, value in sorted(model.generation_config.to_dict().items()):
        # Without a value in effect the setting is off, as it is where the checkpoint says 0 or false.
        same = value == settings[name] if name in settings else not value or value == _OFF.get(name)
        if value is not None and not same and name not in _NO_EFFECT:
            overruled[name] = value
    return overruled


@contextmanager
def only_these_settings(task: Task, model: Any, tokenizer: Any = None) -> Iterator[Any]:
    """Yields the transformers config of `generation_settings`, which stands in for the checkpoint's meanwhile.

    It has no stop texts: `generate` would look for them in the prompts too.
    """
    # PEFT's wrapper forwards to the model below, which is the one that `generate` asks for its config.
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    checkpoint = model.generation_config
    model.generation_config = own_generation_config(task, model, tokenizer)
    try:
        yield model.generation_config
    finally:
        model.generation_config = checkpoint


def own_generation_config(task: Task, model: Any, tokenizer: Any = None) -> Any:
    """The transformers config of `generation_settings`, to be saved with a model that is used elsewhere.

    It has no stop texts: with them `generate` would refuse every call that does not bring a tokenizer.
    """
    from transformers import GenerationConfig

    settings = generation_settings(task, model, tokenizer)
    return GenerationConfig(**{name: value for name, value in settings.items() if name != "stop_strings"})


@lru_cache(maxsize=64)
def warn_once(message: str) -> None:
    logger.warning("%s", message)
