"""sacrebleu's signatures: how BLEU and chrF were computed, without which no two of them can be compared."""

from __future__ import annotations

from collections.abc import Iterator

from bench.analysis.results import Results
from bench.config.metric_facts import metric_facts


def signatures(results: Results) -> Iterator[str]:
    """A sentence for each signature, with its metric and its tasks."""
    tasks: dict[tuple[str, str], dict[str, None]] = {}
    for record in results.records.values():
        for metric, signature in (record.evaluation.get("sacrebleu") or {}).items():
            tasks.setdefault((metric, signature), {})[results.task_labels[record.cell.task]] = None
    for (metric, signature), labels in tasks.items():
        yield f"{metric_facts(metric).label} of {', '.join(labels)}: {signature} (sacrebleu)."
