"""What a reader must know of ROUGE: a tokenizer other than that of papers, and text that a tokenizer drops."""

from __future__ import annotations

from collections.abc import Iterator

from bench.analysis.results import Results
from bench.evaluation.rouge import Dropped, rouge_metrics


def tokenizers(results: Results) -> Iterator[str]:
    """The tasks whose ROUGE counts words of any script."""
    tasks = [
        task.label for task in results.tasks.values() if task.rouge_tokenizer != "rouge-score" and rouge_metrics(task)
    ]
    if tasks:
        yield f"ROUGE with the tokenizer words, of any script and without stemming: {', '.join(tasks)}."


def dropped_texts(results: Results) -> Iterator[str]:
    """A caution per task and split whose references ROUGE's tokenizer leaves out for the most part."""
    warnings: dict[str, None] = {}
    for record in results.records.values():
        rouge = record.evaluation.get("rouge") or {}  # records from before this was measured have none
        for split, loss in rouge.get("dropped", {}).items():
            if Dropped(**loss).too_much:
                task = results.task_labels[record.cell.task]
                warnings[f"{task}, {split}: {Dropped(**loss).warning(rouge['tokenizer'])}."] = None
    yield from warnings
