"""Texts that a decoder writes behind its prompts, greedily or by beam search, up to a stop text."""

from __future__ import annotations

from typing import Any

from bench.config.task import Task
from bench.evaluation.generation_settings import only_these_settings
from bench.inputs.collate import Batch


def continue_prompts(model: Any, task: Task, batch: Batch, tokenizer: Any) -> list[str]:
    """One text per row of `batch`, without its prompt."""
    assert task.generation is not None  # tasks that generate have the block, which the configuration checks
    stops = task.generation.stop
    prompts = batch.inputs["input_ids"].shape[1] - batch.targets.shape[1]  # padded on the left to this length
    with only_these_settings(task, model, tokenizer) as settings:
        ids = model.generate(
            input_ids=batch.inputs["input_ids"][:, :prompts],
            attention_mask=batch.inputs["attention_mask"][:, :prompts],
            generation_config=settings,
            stopping_criteria=[_stops_behind(prompts, stops, tokenizer)] if stops else None,
        )
    texts = tokenizer.batch_decode(ids[:, prompts:], skip_special_tokens=True)
    return [_until(text, stops).strip() for text in texts]


def _stops_behind(prompts: int, stops: list[str], tokenizer: Any) -> Any:
    """Says of which rows the text, behind the first `prompts` tokens, ends with one of `stops`.

    `generate` looks for the stop texts that it is given in prompt and text together: behind a prompt that
    ends with a line break, the stop of two breaks would end a text that begins with one.
    """
    from transformers import StopStringCriteria

    class OfTexts(StopStringCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any, **options: Any) -> Any:
            return super().__call__(input_ids[:, prompts:], scores, **options)

    return OfTexts(tokenizer, stops)


def _until(text: str, stops: list[str]) -> str:
    """`text` up to the first of the `stops`."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text
