"""Texts that a model writes, greedily or by beam search.

Each source is encoded once, and its keys and values for the cross attention are computed and stored once per row: for
the loss and for all beams together. `generate` of transformers would compute and store one copy per beam.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor

from bench.config.task import Task
from bench.evaluation.generation_settings import only_these_settings
from bench.evaluation.loss import task_loss
from bench.inputs.collate import Batch

# The name under which our attention is registered with transformers. It extends this one of theirs:
BEAMS_SHARE_SOURCES = "sdpa_beams_share_sources"
BASE = "sdpa"


def generate_texts(model: Any, task: Task, batch: Batch, tokenizer: Any) -> tuple[list[str], float, Tensor]:
    """One text per row of `batch`, and of the targets the mean loss over tokens and the logits (`task_loss`)."""
    assert task.generation is not None  # tasks that generate have the block, which the configuration checks
    sources = {"encoder_outputs": model.get_encoder()(**batch.inputs), "attention_mask": batch.inputs["attention_mask"]}
    cache = _new_cache(model)
    # Computing the loss fills the cross-attention part of the cache, which generation then starts from.
    loss, logits = task_loss(model, replace(batch, inputs={**sources, "past_key_values": cache}), task.kind)
    with (
        _beams_share_sources(model, cache, task.generation.beams),
        only_these_settings(task, model, tokenizer) as settings,
    ):
        ids = model.generate(
            **sources, past_key_values=_new_cache(model, cache.cross_attention_cache), generation_config=settings
        )
    return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)], float(loss), logits


def _new_cache(model: Any, source_cache: Any = None) -> Any:
    """An empty cache of keys and values; with `source_cache`, those of the sources are already in it."""
    from transformers import DynamicCache, EncoderDecoderCache

    class SourceCache(DynamicCache):  # type: ignore[misc]
        # Beam search moves rows of the cache when beams change places. All beams of a row have the same source.
        def reorder_cache(self, beam_idx: Tensor) -> None:
            pass

    config = model.config.get_text_config(decoder=True)
    return EncoderDecoderCache(DynamicCache(config=config), source_cache or SourceCache(config=config))


@contextmanager
def _beams_share_sources(model: Any, cache: Any, beams: int) -> Iterator[None]:
    """Let the beams of a row attend to one copy of the row's source, where the model's attention is BASE.

    With any other attention the cached keys and values of the sources are repeated, one copy per beam.
    """
    implementation = model.config.get_text_config(decoder=True)._attn_implementation
    if beams == 1:
        yield
    elif implementation != BASE:
        cache.cross_attention_cache.batch_repeat_interleave(beams)
        yield
    else:
        _register_attention()
        model.set_attn_implementation(BEAMS_SHARE_SOURCES)
        try:
            yield
        finally:
            model.set_attn_implementation(implementation)


def _register_attention() -> None:
    """Offer our attention to transformers by name; the masks that it takes are those of BASE."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    AttentionInterface.register(BEAMS_SHARE_SOURCES, _attend)
    AttentionMaskInterface.register(BEAMS_SHARE_SOURCES, ALL_MASK_ATTENTION_FUNCTIONS[BASE])


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> tuple[Tensor, Any]:
    """Scaled dot-product attention in which the queries of all beams of a row share the row's keys and values.

    query: [rows * beams, heads, 1, size]. key and value: [rows, heads, tokens, size] in the cross attention, and with
    the rows of the query in the self attention, which is left as it is. Returns [rows * beams, 1, heads, size].
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rows, (queries, heads, length, size) = key.shape[0], query.shape
    output: Tensor
    if rows == queries:
        output, weights = sdpa_attention_forward(module, query, key, value, mask, **options)
        return output, weights
    # The beams of a row become the positions of one query sequence: [rows, heads, beams, size].
    beams = queries // rows
    query = query.reshape(rows, beams, heads, size).transpose(1, 2)
    mask = mask[::beams] if mask is not None and mask.shape[0] == queries else mask
    output, weights = sdpa_attention_forward(module, query, key, value, mask, **{**options, "is_causal": False})
    return output.reshape(queries, length, heads, size), weights
