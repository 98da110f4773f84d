"""Sections of a checklist on method: error bars, and hyper-parameters with the way they were chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.analysis.results import Results
from bench.analysis.tables.comparisons import NOTE, ONE_SEED_NOTE
from bench.analysis.tables.marks import BOLD
from bench.analysis.tables.scores import budgets_note, over_seeds, usual_n
from bench.analysis.tuning_notes import recipe_notes, tuning_notes
from bench.analysis.tuning_results import Group
from bench.analysis.tuning_wording import value_text
from bench.analysis.verdicts import method_pairs
from bench.config.cell import Cell
from bench.publishing.checklists.facts import Facts
from bench.publishing.checklists.model import NOT_RECORDED, Item, Section, item

FIXED = (
    "Fixed before the first training, in the YAML files of study, tasks and methods; not tuned in this study. How "
    f"these values were found: {NOT_RECORDED}."
)


def error_bars_section(facts: Facts) -> Section:
    """What is reported, what its error bars are, and how they are computed."""
    results = facts.results
    n = usual_n(results)
    best = results.study.study.selection == "best"
    step = "the step with the lowest loss on held-out training rows" if best else "the last step"
    compared = bool(method_pairs(results))
    return Section(
        "Error bars",
        "NeurIPS 7 (Experiment statistical significance); ACL C3 (descriptive statistics)",
        (
            item("Reported score", f"That of {step}, on rows that decided nothing. {budgets_note(results)}"),
            item(
                "Spread",
                f"Tables show the {over_seeds(n)}. The sd is that of the sample, with n − 1."
                if n > 1
                else "None: one seed has no spread.",
            ),
            *(_tests(n) if compared else []),
            item("Sources of variation", "Seeds and evaluation examples. Splits of the data are the same in all runs."),
        ),
    )


def hyperparameters_section(facts: Facts) -> Section:
    """The recipes of the recorded cells, and how they were chosen."""
    results = facts.results
    recipes = _recipes(results)
    shared = _shared(list(recipes.values()))
    items = [item("The same in all cells", _settings(shared))]
    for task in results.tasks:
        of_task = {group: recipe for group, recipe in recipes.items() if group[0] == task}
        common = _shared(list(of_task.values()))
        own = {key: value for key, value in common.items() if key not in shared}
        texts = [_settings(own)] if own else []
        for group, recipe in of_task.items():
            rest = {key: value for key, value in recipe.items() if key not in common}
            name = f"{results.labels[group[1]]}, {group[2]}"
            texts += [f"{name}: {_settings(rest)}"] if rest else []
        items += [item(results.task_labels[task], texts)] if texts else []
    return Section(
        "Hyper-parameters",
        "NeurIPS 6 (Experimental setting/details); ACL C2 (setup, search, best-found values)",
        (
            *items,
            item("Methods", list(_methods(results))),
            item("How they were chosen", list(_chosen(results)) or FIXED),
        ),
    )


def _tests(n: int) -> list[Item]:
    notes = (NOTE, *([] if n > 1 else [ONE_SEED_NOTE]))
    return [item("Intervals and tests of the table comparisons", notes), item("Bold in tables of scores", BOLD)]


def _recipes(results: Results) -> dict[Group, dict[str, Any]]:
    """The recipe of each group of which a cell is recorded."""
    recipes: dict[Group, dict[str, Any]] = {}
    for cell in results.cells:
        if cell.id in results.records:
            name = (cell.task.name, cell.method.name, cell.budget_name)
            recipes.setdefault(name, cell.recipe.model_dump(mode="json"))
    return recipes


def _shared(recipes: list[dict[str, Any]]) -> dict[str, Any]:
    """The keys that have one value in all recipes."""
    first = recipes[0] if recipes else {}
    return {key: value for key, value in first.items() if all(recipe[key] == value for recipe in recipes)}


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value_text(value)}" for key, value in values.items()) or NOT_RECORDED


def _methods(results: Results) -> Iterator[str]:
    """Of each method what is stored and trained, and what decides the ranks."""
    cells: dict[str, Cell] = {}
    for cell in results.cells:
        cells.setdefault(cell.method.name, cell)
    for label, method in ((results.labels[name], cell.method) for name, cell in cells.items()):
        adapter = method.peft.config if method.peft else method.adapter
        yield f"{label}: base stored in {method.storage}, adapter {adapter}, allocator {method.allocator}"


def _chosen(results: Results) -> Iterator[str]:
    yield from recipe_notes(results)
    if results.tuning:
        yield from tuning_notes(results)
