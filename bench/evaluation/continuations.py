"""Texts that a decoder writes behind its prompts, greedily or by beam search, up to a stop text."""

from __future__ import annotations

from typing import Any

from bench.config.task import Task
from bench.evaluation.generation_settings import only_these_settings
from bench.inputs.collate import Batch


def continue_prompts(model: Any, task: Task, batch: Batch, tokenizer: Any) -> list[str]:
    """One text per row of `batch`, without its prompt."""
    assert task.generation is not None  # tasks that generate have the block, which the configuration checks
    prompts = batch.inputs["input_ids"].shape[1] - batch.targets.shape[1]  # padded on the left to this length
    with only_these_settings(task, model, tokenizer) as settings:
        ids = model.generate(
            input_ids=batch.inputs["input_ids"][:, :prompts],
            attention_mask=batch.inputs["attention_mask"][:, :prompts],
            generation_config=settings,
            tokenizer=tokenizer,  # for the stop texts
        )
    texts = tokenizer.batch_decode(ids[:, prompts:], skip_special_tokens=True)
    return [_until(text, task.generation.stop).strip() for text in texts]


def _until(text: str, stops: list[str]) -> str:
    """`text` up to the first of the `stops`."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text
