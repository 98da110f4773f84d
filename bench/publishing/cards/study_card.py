"""The card at the top of a repository that holds several cells: what is in it, and how to load one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.analysis.results import Results
from bench.analysis.wording import DASH, count_text, direction_notes, with_minus_signs
from bench.publishing.cards.card import WARNING
from bench.publishing.cards.loading import Place, base_note, loading_lines
from bench.publishing.cards.metadata import PROJECT, TASKS, hub_metric
from bench.publishing.cards.subjects import Subject


def study_card(results: Results, subjects: Sequence[Subject], repository: str) -> str:
    """README.md of `repository`, which holds the cells `subjects` in a folder each.

    Its metadata name every base and data set once. Scores stand in the cards of the cells, since a `model-index` is of
    one model.
    """
    from huggingface_hub import ModelCardData

    cells = [subject.cell for subject in subjects]
    kinds = _once(TASKS[cell.task.kind] for cell in cells)
    licenses = _once(cell.backbone.license for cell in cells)
    hubs = _once(subject.cell.task.data.hub for subject in subjects if not subject.synthetic)
    data = ModelCardData(
        base_model=_once(cell.backbone.hub_name for cell in cells) or None,
        library_name="peft" if any(subject.form == "adapter" for subject in subjects) else "transformers",
        pipeline_tag=kinds[0] if len(kinds) == 1 else None,
        license=licenses[0] if len(licenses) == 1 else None,
        datasets=hubs or None,
        tags=[*_once(cell.method.name for cell in cells), PROJECT],
    )
    example = subjects[0]
    tasks = [subject.cell.task.name for subject in subjects if subject.synthetic]
    where = f"`{results.paths.page.name}` is its page: tables, statistics and figures."
    page = [where] if results.paths.page.is_file() else []
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# Study {results.study.name}",
        *([WARNING.format(task=", ".join(_once(tasks)))] if tasks else []),
        " ".join([f"{len(subjects)} cells of a comparison made with {PROJECT}, in a folder each.", *page]),
        "## Load one",
        *([note] if (note := base_note(example)) else []),
        f"```python\n{loading_lines(example, Place(repository, example.cell.id))}\n```",
        "Each folder has a card with ranks, recipe, data, licenses and the spread over seeds.",
        "## Cells",
        _table(subjects),
    ]
    return "\n\n".join(parts) + "\n"


def _table(subjects: Sequence[Subject]) -> str:
    lines = ["| folder | method | split | metric | score | n |", "| --- | --- | --- | --- | --- | --- |"]
    metrics = []
    for subject in subjects:
        split, metric, value = subject.scores[0]
        hub = hub_metric(metric, subject.cell.task.kind)
        score = DASH if value is None else with_minus_signs(f"{value * hub.factor:z.{2 if hub.factor > 1 else 4}f}")
        rows = subject.rows.get(split)
        n = DASH if rows is None else count_text(rows)
        cell = subject.cell
        facts = cell.task.metric_facts(metric)
        metrics.append(facts)
        name = facts.marked_name(hub.name)
        lines.append(f"| [{cell.id}]({cell.id}) | {cell.method.label} | {split} | {name} | {score} | {n} |")
    return "\n".join([*lines, *("\n" + note for note in direction_notes(metrics, differences=False))])


def _once(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value is not None))
