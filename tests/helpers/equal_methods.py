"""Answers of equal methods: no true difference, but luck of seeds, and examples that suit one method or another.

Whatever a table claims about them is false.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.config.task import Task
from helpers.results import Answers, Rows

SHARE_OF_NO_LABEL = 0.3  # of the wrong answers in text


@dataclass(frozen=True)
class World:
    """How the answers vary, in standard deviations of the noise of a single answer.

    Attributes:
        rows: how many examples a split has.
        luck: of a seed.
        taste: of an example for a method, the same for all seeds.
        collapse: share of runs that give one answer to everything.
        lost: share of cells that are missing; as many again have failed.
        odd: share of cells that were scored on other rows.
    """

    rows: int
    luck: float = 0.1
    taste: float = 0.7
    collapse: float = 0.0
    lost: float = 0.0
    odd: float = 0.0


def equal_answers(study: ResolvedStudy, world: World, generator: np.random.Generator) -> Answers:
    """By cell id: the rows of predictions.parquet. Methods of one task and budget answer the same examples."""
    answers: dict[str, Rows | None] = {}
    examples: dict[tuple[str, str], Rows] = {}
    tastes: dict[tuple[str, str, str], np.ndarray] = {}
    for cell in study.cells:
        place = (cell.task.name, cell.budget_name)
        if place not in examples:
            examples[place] = _examples(cell.task, world.rows, generator)
        taste = tastes.setdefault((*place, cell.method.name), world.taste * generator.normal(size=world.rows))
        fate = generator.random()
        if fate >= world.lost:
            answers[cell.id] = (
                None if fate < 2 * world.lost else _answers(cell, examples[place], taste, world, generator)
            )
    return answers


def _examples(task: Task, rows: int, generator: np.random.Generator) -> Rows:
    """The truth, and how easy each example is."""
    if task.kind == "regression":
        truth = generator.uniform(0, 5, rows)
    elif task.kind == "summarization":
        truth = np.arange(rows)
    else:  # one of two classes is rarer, as in most tasks
        truth = (generator.random(rows) < 0.35).astype(int) if len(task.labels) == 2 else np.arange(rows) % 3
    return {"row": np.arange(rows), "reference": truth, "ease": generator.normal(size=rows)}


def _answers(cell: Cell, examples: Rows, taste: np.ndarray, world: World, generator: np.random.Generator) -> Rows:
    task, truth, rows = cell.task, examples["reference"], world.rows
    luck, noise = world.luck * generator.normal(), generator.normal(size=rows)
    skill = luck + examples["ease"] + taste + noise
    collapsed, odd = generator.random() < world.collapse, generator.random() < world.odd
    columns: Rows = {"row": examples["row"] + rows * odd, "reference": truth}
    if task.kind == "summarization":
        for number, metric in enumerate(task.metrics):
            scores = 0.3 - 0.05 * number + 0.08 * skill + 0.03 * generator.normal(size=rows)
            columns[f"score_{metric}"] = np.clip(scores * (0.1 if collapsed else 1), 0, 1)
        return {**columns, "prediction": truth}
    if task.kind == "regression":
        return {**columns, "prediction": noise if collapsed else truth * np.exp(luck) + 1.5 * (skill - luck)}
    classes = len(task.labels)
    other = (truth + 1 + generator.integers(0, max(1, classes - 1), rows)) % classes
    answer = np.zeros(rows, dtype=int) if collapsed else np.where(skill > -0.9, truth, other)
    if task.kind == "classification":
        return {**columns, "prediction": answer}
    words = np.array([*task.labels, "something else"], dtype=object)
    unlabelled = (answer != truth) & (generator.random(rows) < SHARE_OF_NO_LABEL)
    return {**columns, "reference": words[truth], "prediction": words[np.where(unlabelled, classes, answer)]}
