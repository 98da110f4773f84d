"""Texts that a model writes, greedily or by beam search.

A source is encoded once, and its keys and values are made once a row and kept once a row: for the loss and for every
beam. The library makes, keeps and moves a copy a beam.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor

from bench.config.task import Task
from bench.evaluation.loss import task_loss
from bench.inputs.collate import Batch

SHARING = "sdpa"  # the attention whose queries may outnumber the keys' rows


def generate_texts(model: Any, task: Task, batch: Batch, tokenizer: Any) -> tuple[list[str], float]:
    """A text a row of `batch`, and the batch's mean loss over target tokens."""
    generation = task.generation
    assert generation is not None  # the spec demands it of tasks that generate
    sources = {"encoder_outputs": model.get_encoder()(**batch.inputs), "attention_mask": batch.inputs["attention_mask"]}
    made = _cache(model)
    loss, _ = task_loss(model, replace(batch, inputs={**sources, "past_key_values": made}), task.kind)
    with _beams_share_sources(model, made, generation.beams):
        ids = model.generate(
            **sources,
            past_key_values=_cache(model, made.cross_attention_cache),
            num_beams=generation.beams,
            max_length=generation.max_length,
            min_length=generation.min_length,
            length_penalty=generation.length_penalty,
            no_repeat_ngram_size=generation.no_repeat_ngram,
            early_stopping=generation.beams > 1,
            do_sample=False,
        )
    return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)], float(loss)


def _cache(model: Any, source: Any = None) -> Any:
    """Keys and values of the texts so far, none yet, and of the sources: none yet, or those of `source`.

    All beams of a row have one source, so where beams change places, what is kept of it stays.
    """
    from transformers import DynamicCache, EncoderDecoderCache

    class Source(DynamicCache):  # type: ignore[misc]
        def reorder_cache(self, beam_idx: Tensor) -> None:
            pass

    config = model.config.get_text_config(decoder=True)
    return EncoderDecoderCache(DynamicCache(config=config), source or Source(config=config))


@contextmanager
def _beams_share_sources(model: Any, cache: Any, beams: int) -> Iterator[None]:
    """Lets `beams` queries a row attend to the row's one source. Other attentions than SHARING get a copy a beam."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as ATTENTIONS

    if beams == 1:
        yield
    elif model.config.get_text_config(decoder=True)._attn_implementation != SHARING:
        cache.cross_attention_cache.batch_repeat_interleave(beams)
        yield
    else:
        one_query_a_source = ATTENTIONS[SHARING]

        def attend(
            module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
        ) -> tuple[Tensor, Any]:
            """query: [rows * beams, heads, 1, size]; key and value: [rows, heads, tokens, size] of a source, else with
            the rows of the query. Returns [rows * beams, 1, heads, size]."""
            rows, (queries, heads, length, size) = key.shape[0], query.shape
            if rows == queries:
                found, weights = one_query_a_source(module, query, key, value, mask, **options)
                return found, weights
            query = query.reshape(rows, beams, heads, size).transpose(1, 2)
            mask = mask[::beams] if mask is not None and mask.shape[0] == queries else mask
            found, weights = one_query_a_source(module, query, key, value, mask, **{**options, "is_causal": False})
            return found.reshape(queries, length, heads, size), weights

        ATTENTIONS[SHARING] = attend
        try:
            yield
        finally:
            ATTENTIONS[SHARING] = one_query_a_source
